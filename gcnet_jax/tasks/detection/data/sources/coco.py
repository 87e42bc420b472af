"""COCO 2017: photographs of everyday scenes with the boxes and masks of 80 classes of objects.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. The training and validation
images with `instances_train2017.json` and `instances_val2017.json`.
"""

from collections.abc import Collection, Sequence

from etils import epath

from gcnet_jax.config import MAX_IMAGE_PIXELS
from gcnet_jax.data.examples import Examples, OfficialSet, Part
from gcnet_jax.tasks.detection.classes import known_classes
from gcnet_jax.tasks.detection.data.sources.coco_files import Checks, CocoFiles
from gcnet_jax.tasks.detection.data.sources.coco_files import find_examples as find_in_files

_SPLITS = ("train", "val")


def find_examples(
    roots: Sequence[epath.Path],
    splits: Collection[str],
    *,
    strict: bool = False,
    may_lack: bool = False,
    max_pixels: int = MAX_IMAGE_PIXELS,
) -> Examples:
    """Finds the images of some splits, and reads their annotations.

    Args:
        roots: where the images of each of the splits are, and the annotations.
        splits: of `train` and `val`.
        strict: whether what would be left out of training is refused, see `refuse_left_out`.
        may_lack: whether images may be missing, which are left out then.
        max_pixels: most pixels of an image.

    Raises:
        AnnotationFaults: something is not as expected; all of it is listed.
    """
    wanted = [split for split in _SPLITS if split in splits]
    *images, annotations = roots
    files = {
        split: CocoFiles(
            annotations / "annotations" / f"instances_{split}2017.json", root / f"{split}2017"
        )
        for split, root in zip(wanted, images, strict=True)
    }
    # As mmdetection, which turns images as they are displayed, and annotations never; and which
    # passes over polygons that are none.
    checks = Checks(max_pixels, "displayed", strict, may_lack, skip_short=True)
    return find_in_files(files, checks, known_classes("coco")).examples


COCO = OfficialSet(
    name="coco",
    description="COCO 2017 with the boxes and masks of 80 classes of objects.",
    find_examples=find_examples,
    splits=_SPLITS,
    parts=(
        Part(("train2017",), "train2017.zip", splits=("train",)),
        Part(("val2017",), "val2017.zip", splits=("val",)),
        Part(("annotations",), "annotations_trainval2017.zip"),
    ),
    counts={"train": 118_287, "val": 5_000},
)
