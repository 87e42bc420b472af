"""The program of a classifier, from pixels to probabilities."""

import jax
from flax import nnx
from jaxtyping import Array, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.task import (
    ArrayShapes,
    Difference,
    Export,
    OfImage,
    Outputs,
    Program,
    Signature,
    Tolerance,
    compare_probabilities,
)
from gcnet_jax.tasks.classification.data import evaluation_crop

PROBABILITIES = "probabilities"


def programs(graphdef: nnx.GraphDef, config: ConfigDict) -> dict[str, Program]:
    """The program `probabilities` of a classifier, see `gcnet_jax.task.Export`."""
    edge = config.data.crop_size

    def probabilities(variables: PyTree, images: UInt8[Array, "b edge edge 3"]) -> Outputs:
        logits = merge(graphdef, variables)(normalize_images(images))
        return {PROBABILITIES: jax.nn.softmax(logits)}

    return {
        PROBABILITIES: Program(
            run=probabilities,
            results={PROBABILITIES: "of each class, float32 (batch, classes); they sum to one"},
            shapes=ArrayShapes(only=[(edge, edge)]),
            measure=_measure,
            takes_sizes=False,
        )
    }


def _measure(
    right: OfImage, mine: OfImage, size: tuple[int, int], tolerance: Tolerance
) -> list[Difference]:
    del size
    name = PROBABILITIES
    return [compare_probabilities(name, right[name], mine[name], tolerance)]


_SEEN = "resized until the shorter edge has {0} pixels; then the square of {1} about the centre"

EXPORT = Export(
    programs=programs,
    called=PROBABILITIES,
    signature=lambda config, meaning: Signature(
        {PROBABILITIES: ("float32", (meaning.num_classes,))}, takes_sizes=False
    ),
    seen=lambda image, config: evaluation_crop(
        image, config.data.resize_size, config.data.crop_size
    ),
    seen_in_words=lambda config: _SEEN.format(config.data.resize_size, config.data.crop_size),
    most_pixels=lambda config: config.data.resize_size**2,
)
