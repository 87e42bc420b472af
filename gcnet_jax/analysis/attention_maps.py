"""Maps of what the context blocks of a trained network attend to in an image."""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.models import context_blocks, merge, record_block_inputs, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.task import Attention

Point = tuple[float, float]
"""Horizontal and vertical place in an image, from 0,0 (top left) to 1,1."""


class AttentionMap(NamedTuple):
    """Under which weights a block gathers features.

    Attributes:
        weights: of the positions of the features.
        window: the part of the image that they cover, see `gcnet_jax.task.SeenImage`.
        of_query: whether they are those of the point alone, and not of every point.
    """

    weights: Float[np.ndarray, "h w"]
    window: tuple[float, float, float, float]
    of_query: bool


class AttentionMaps:
    """Draws attention maps with one network; for each shape of arrays a program is compiled.

    Args:
        model: in evaluation mode.
        attention: how networks of its task see an image.
        config: of the run.

    Attributes:
        blocks: where there are context blocks, such as `decode_head.context`, and whether each
            attends from every point to something else.
    """

    def __init__(self, model: nnx.Module, attention: Attention, config: ConfigDict):
        blocks = context_blocks(model)
        self.blocks: Mapping[str, bool] = {
            path: not block.pool.query_independent for path, block in blocks.items()
        }
        self._attention, self._config = attention, config
        graphdef, self._variables = split_for_evaluation(model)
        self._weights = jax.jit(
            functools.partial(_weights, graphdef, attention), static_argnames="path"
        )

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], block: str, point: Point = (0.5, 0.5)
    ) -> AttentionMap:
        """The map of a block.

        Args:
            image: RGB.
            block: one of `blocks`.
            point: where it attends from; what lies outside of what the network sees counts as the
                nearest that it does see.

        Raises:
            InputError: the network sees the image in several parts.
        """
        seen = self._attention.seen(image, self._config)
        left, top, right, bottom = seen.window
        inside = [(point[0] - left) / (right - left), (point[1] - top) / (bottom - top)]
        weights = self._weights(
            self._variables,
            seen.pixels[None],
            np.array([seen.size], np.int32),
            np.clip(np.array(inside, np.float32), 0, 1),
            path=block,
        )
        (height, width), shape = seen.size, seen.pixels.shape
        rows, columns = weights.shape
        weights = np.asarray(weights, np.float32)
        weights = weights[
            : math.ceil(rows * height / shape[0]), : math.ceil(columns * width / shape[1])
        ]
        return AttentionMap(weights, seen.window, self.blocks[block])


def _weights(
    graphdef: nnx.GraphDef,
    attention: Attention,
    variables: PyTree,
    images: UInt8[Array, "1 h w 3"],
    sizes: Int[Array, "1 2"],
    point: Float[Array, "2"],
    *,
    path: str,
) -> Float[Array, "_h _w"]:
    model = merge(graphdef, variables)
    normalized = normalize_images(images, sizes)
    features, mask = record_block_inputs(model, lambda: attention.run(model, normalized, sizes))[
        path
    ]
    # How many positions the image has in features that cover the whole array.
    shape = jnp.array(features.shape[1:3])
    there = jnp.ceil(shape * sizes[0] / jnp.array(images.shape[1:3])).astype(jnp.int32)
    row, column = jnp.clip(jnp.floor(point[::-1] * there).astype(jnp.int32), 0, there - 1)
    block = context_blocks(merge(graphdef, variables))[path]
    weights = block.attention(features, (row * shape[1] + column)[None], mask)
    return weights[0] if block.pool.query_independent else weights[0, 0]
