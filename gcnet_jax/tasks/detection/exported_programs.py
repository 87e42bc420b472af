"""The program of a detector, from pixels to boxes, scores, classes and masks."""

import math

from flax import nnx
from jaxtyping import Array, Int, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import fit_in_words, resize_to_fit
from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.task import ArrayShapes, Export, Outputs, Program, Signature
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.image_shapes import array_shapes
from gcnet_jax.tasks.detection.object_agreement import measure_objects
from gcnet_jax.tasks.detection.onnx_operators import ONNX_OPERATORS

OBJECTS = "objects"

_RESULTS = {
    "boxes": "(x1, y1, x2, y2) in pixels of the array, float32 (batch, objects, 4)",
    "scores": "from 0 to 1, the largest first, float32 (batch, objects)",
    "classes": "indices of the classes, int32 (batch, objects)",
    "valid": "which rows are there; others hold zeros, bool (batch, objects)",
}
_MASKS = (
    "how sure each position of a box is the object, from 0 to 1, float32 (batch, objects, side, "
    "side); resized to the box the object is where it is over the config's model.test."
    "mask_threshold"
)


def programs(graphdef: nnx.GraphDef, config: ConfigDict) -> dict[str, Program]:
    """The program `objects` of a detector, see `gcnet_jax.task.Export`."""

    def objects(
        variables: PyTree,
        images: UInt8[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
    ) -> Outputs:
        found = merge(graphdef, variables)(normalize_images(images, sizes), sizes)
        return {name: x for name, x in found._asdict().items() if x is not None}

    has_masks = config.model.mask_head.enabled
    return {
        OBJECTS: Program(
            run=objects,
            results={**_RESULTS, **({"masks": _MASKS} if has_masks else {})},
            shapes=ArrayShapes(only=array_shapes(config.data.base_scale)),
            measure=measure_objects(config.model.test.score_threshold),
            rewritten=ONNX_OPERATORS,
        )
    }


def _signature(config: ConfigDict, meaning: ObjectClasses) -> Signature:
    del meaning  # of classes, which it names by their indices
    results = {
        "boxes": ("float32", ("objects", 4)),
        "scores": ("float32", ("objects",)),
        "classes": ("int32", ("objects",)),
        "valid": ("bool", ("objects",)),
    }
    if config.model.mask_head.enabled:
        results["masks"] = ("float32", ("objects", "side", "side"))
    return Signature(results)


EXPORT = Export(
    programs=programs,
    called=OBJECTS,
    signature=_signature,
    seen=lambda image, config: resize_to_fit(image, config.data.base_scale),
    seen_in_words=lambda config: fit_in_words(config.data.base_scale),
    most_pixels=lambda config: math.prod(config.data.base_scale),
)
