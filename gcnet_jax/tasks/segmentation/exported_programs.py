"""The programs of a segmentor, from pixels to classes, to probabilities and to logits.

The first two are for whoever has nothing but the file. `gcnet_jax.load` calls the last: from logits
it makes classes at the size that an image had before it was resized, a tile at a time, as it does
for a run.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import fit_in_words, resize_to_fit
from gcnet_jax.errors import InputError
from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.task import (
    ArrayShapes,
    Export,
    Measure,
    Outputs,
    Program,
    Signature,
    compare_classes,
    compare_logits,
    compare_probabilities,
)
from gcnet_jax.tasks.segmentation.evaluation import NetworkInference, score_pixels

CLASSES, PROBABILITIES, LOGITS = "classes", "probabilities", "logits"

_MULTIPLE = 64
"""Sides that are left open are multiples of it: a map of stride 8, dilated by 4, is then made of
whole tiles of `gcnet_jax.ops.winograd`, of which JAX need not know how many there are."""
_STRIPE = 32
"""Rows that are made at one time, and what sides are multiples of that are not left open."""


def programs(graphdef: nnx.GraphDef, config: ConfigDict) -> dict[str, Program]:
    """The programs of a segmentor by their names, see `gcnet_jax.task.Export`."""
    inference = NetworkInference(graphdef, config.evaluation, mirrored_too=False)

    def logits(
        variables: PyTree, images: UInt8[Array, "b h w 3"], sizes: Int[Array, "b 2"]
    ) -> Outputs:
        return {LOGITS: inference.logits(variables, images, sizes)}

    def of_pixels(name: str, result) -> Program:
        def run(
            variables: PyTree,
            images: UInt8[Array, "b h w 3"],
            sizes: Int[Array, "b 2"] | None = None,
        ) -> Outputs:
            if sizes is None:
                return {name: result(_whole(graphdef, variables, images, config))}
            decoded = [[inference.logits(variables, images, sizes)]]
            scaled = [{"image": images, "size": sizes}]
            shape = (images.shape[1], images.shape[2])
            views = inference.views(variables, decoded, scaled, sizes, shape)  # type: ignore[arg-type]
            return {name: score_pixels(views, result, rows_at_once=_STRIPE)}

        return Program(
            run=run,
            results={name: _RESULTS[name]},
            shapes=_array_shapes(config),
            measure=_measure(name),
        )

    return {
        CLASSES: of_pixels(CLASSES, lambda scores: jnp.argmax(scores, -1).astype(jnp.uint8)),
        PROBABILITIES: of_pixels(PROBABILITIES, jax.nn.softmax),
        LOGITS: Program(
            run=logits,
            results={LOGITS: _RESULTS[LOGITS]},
            shapes=_array_shapes(config),
            measure=_measure(LOGITS),
        ),
    }


_RESULTS = {
    CLASSES: "the index of each pixel's class, uint8 (batch, height, width)",
    PROBABILITIES: "of each class at each pixel, float32 (batch, height, width, classes)",
    LOGITS: "of each class at positions the stride apart, float32 (batch, h, w, classes)",
}


def _measure(name: str) -> Measure:
    """Compares a result of an image, without what lies in the array around it."""
    if name == LOGITS:  # whose positions lie the stride apart
        return lambda right, mine, size, tolerance: [
            compare_logits(name, right[name], mine[name], tolerance)
        ]
    compare = {CLASSES: compare_classes, PROBABILITIES: compare_probabilities}[name]
    return lambda right, mine, size, tolerance: [
        compare(
            name, right[name][: size[0], : size[1]], mine[name][: size[0], : size[1]], tolerance
        )
    ]


def _whole(
    graphdef: nnx.GraphDef, variables: PyTree, images: UInt8[Array, "b h w 3"], config: ConfigDict
) -> Float[Array, "b h w classes"]:
    """The logits of images that fill their arrays.

    Raises:
        InputError: the network sees images in windows.
    """
    if config.evaluation.mode != "whole":
        raise InputError(
            f"evaluation.mode is {config.evaluation.mode!r}; a program without sizes of images is "
            "for 'whole' alone: --config.evaluation.mode=whole"
        )
    return merge(graphdef, variables)(normalize_images(images))


def _array_shapes(config: ConfigDict) -> ArrayShapes:
    """All multiples where the network sees images whole.

    How many windows there are depends on the size in a way that JAX cannot write down: there are
    the two shapes that images of the config's base scale fit into.
    """
    if config.evaluation.mode == "whole":
        return ArrayShapes(multiple=_MULTIPLE)
    short, long = (-(-length // _STRIPE) * _STRIPE for length in sorted(config.data.base_scale))
    return ArrayShapes(multiple=_STRIPE, only=sorted({(short, long), (long, short)}))


EXPORT = Export(
    programs=programs,
    called=LOGITS,
    signature=lambda config, meaning: Signature(
        {LOGITS: ("float32", ("h", "w", meaning.num_classes))}
    ),
    seen=lambda image, config: resize_to_fit(image, config.data.base_scale),
    seen_in_words=lambda config: fit_in_words(config.data.base_scale),
    most_pixels=lambda config: math.prod(config.data.base_scale),
)
