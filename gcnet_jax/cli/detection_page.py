"""What the block is worth to detection: two networks on context_objects, and a page."""

import functools
from collections.abc import Sequence

import jax
import numpy as np
from etils import epath
from flax import nnx
from jaxtyping import Array, PyTree, UInt8

from gcnet_jax.cli.with_and_without import WITH_BLOCK, WITHOUT_BLOCK, Demonstration, Pair
from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.task import TrainedModel
from gcnet_jax.tasks.detection.data import DATA_SETS, Sample, decode, pixels_of, prepare
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.pictures import ShownObject, draw_objects
from gcnet_jax.tasks.detection.result import DetectionResult
from gcnet_jax.tasks.detection.task import TASK
from gcnet_jax.tasks.picture_rows import Picture, save_page
from gcnet_jax.training.curves import Curve

_DATA_SET = "context_objects"
_PICTURES = range(3, 9)  # of the test split: by day and by night, discs and squares
_ENLARGED = 3  # times, which leaves room for the names of classes
_SHOWN_FROM = 0.3  # score
_OPACITY = 0.35


def _draw(path: epath.Path, pair: Pair, curves: Sequence[Curve], data_dir: epath.Path) -> None:
    samples = _samples(data_dir)
    rows = [{"image": _enlarged(x["image"]), "objects": _annotated(x)} for x in samples]
    for words, trained in ((WITH_BLOCK, pair.with_block), (WITHOUT_BLOCK, pair.without_block)):
        for row, picture in zip(rows, _predicted(trained, samples), strict=True):
            row[words] = picture
    save_page(path, rows, (), curves)


@functools.cache
def _samples(data_dir: epath.Path) -> list[Sample]:
    records = DATA_SETS.open_split(_DATA_SET, data_dir, "test")
    return [decode(records[index]) for index in _PICTURES]


def _annotated(sample: Sample) -> Picture:
    """The image with the objects that are in it."""
    image, annotations = sample["image"], sample["annotations"]
    names, size = DATA_SETS.meaning(_DATA_SET).names, (image.shape[0], image.shape[1])
    assert annotations.masks is not None
    masks = pixels_of(annotations.masks, size).astype(bool)
    objects = [
        ShownObject(
            _ENLARGED * np.array([x, y, x + width, y + height]), names[label], _enlarged(mask)
        )
        for (x, y, width, height), label, mask in zip(
            annotations.boxes, annotations.classes, masks, strict=True
        )
    ]
    return np.asarray(draw_objects(_enlarged(image), objects, opacity=_OPACITY))


def _predicted(trained: TrainedModel, samples: Sequence[Sample]) -> list[Picture]:
    """The images with what a network finds in them."""
    images = np.stack([sample["image"] for sample in samples])
    found = jax.device_get(_detections(trained.graphdef, trained.variables, images))
    pictures = []
    for index, image in enumerate(images):
        there = found.valid[index]
        result = DetectionResult(
            _enlarged(image),
            _ENLARGED * found.boxes[index][there],
            found.scores[index][there],
            found.classes[index][there],
            found.masks[index][there],
            DATA_SETS.meaning(_DATA_SET).names,
        )
        pictures.append(np.asarray(result.picture(min_score=_SHOWN_FROM, opacity=_OPACITY)))
    return pictures


def _enlarged(picture: np.ndarray) -> np.ndarray:
    return picture.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)


# The network's structure is the same at every checkpoint: each is compiled once.
@functools.partial(jax.jit, static_argnums=0)
def _detections(
    graphdef: nnx.GraphDef, variables: PyTree, images: UInt8[Array, "b h w 3"]
) -> Detections:
    return merge(graphdef, variables)(normalize_images(images))


DEMONSTRATION = Demonstration(
    task=TASK,
    configs={
        "mask-rcnn_gcb": "context_objects/mask-rcnn_gcb",
        "mask-rcnn": "context_objects/mask-rcnn",
    },
    prepare=functools.partial(prepare, _DATA_SET),
    few_steps=1000,
    seconds_around=100,
    seconds_a_step=0.12,
    draw=_draw,
)
"""Networks of which regions see too little around them to find the cue for their class."""
