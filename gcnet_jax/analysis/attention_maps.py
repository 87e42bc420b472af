"""Maps of what the context blocks of a trained network attend to in an image."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.models import context_blocks, merge, record_block_inputs, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.task import Attention, SeenImage

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
            functools.partial(_weights, graphdef, attention), static_argnames="paths"
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
        inside = (point[0] - left) / (right - left), (point[1] - top) / (bottom - top)
        ((weights,),) = self.of_seen(seen, [block], [inside]).values()
        return AttentionMap(weights, seen.window, self.blocks[block])

    def of_seen(
        self, seen: SeenImage, blocks: Sequence[str], points: Sequence[Point]
    ) -> dict[str, Float[np.ndarray, "maps _h _w"]]:
        """Maps of some blocks over what the network sees of an image.

        Args:
            seen: from `Attention.seen`.
            blocks: some of `self.blocks`.
            points: where they attend from, in what is seen; the nearest there is of others.

        Returns:
            For each block the weights from each of the points, or the one map of all of them.
        """
        found = self._weights(
            self._variables,
            seen.pixels[None],
            np.array([seen.size], np.int32),
            np.clip(np.array(points, np.float32), 0, 1),
            paths=tuple(blocks),
        )
        cropped = {}
        for path, weights in found.items():
            rows, columns = positions_seen(seen, weights.shape[1:])
            cropped[path] = np.asarray(weights, np.float32)[:, :rows, :columns]
        return cropped


def positions_seen(seen: SeenImage, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many rows and columns an image has of features that cover its whole array.

    Args:
        seen: the image in its array.
        shape: rows and columns of the features.
    """
    (height, width), (rows, columns) = seen.size, shape
    array_height, array_width, _ = seen.pixels.shape
    return math.ceil(rows * height / array_height), math.ceil(columns * width / array_width)


def _weights(
    graphdef: nnx.GraphDef,
    attention: Attention,
    variables: PyTree,
    images: UInt8[Array, "1 h w 3"],
    sizes: Int[Array, "1 2"],
    points: Float[Array, "points 2"],
    *,
    paths: tuple[str, ...],
) -> dict[str, Float[Array, "maps _h _w"]]:
    model, blocks = merge(graphdef, variables), context_blocks(merge(graphdef, variables))
    normalized = normalize_images(images, sizes)
    inputs = record_block_inputs(model, lambda: attention.run(model, normalized, sizes))
    found = {}
    for path in paths:
        features, mask = inputs[path]
        shape = jnp.array(features.shape[1:3])
        # As `positions_seen` has it.
        there = jnp.ceil(shape * sizes[0] / jnp.array(images.shape[1:3])).astype(jnp.int32)
        places = jnp.clip(jnp.floor(points[:, ::-1] * there).astype(jnp.int32), 0, there - 1)
        weights = blocks[path].attention(features, places[:, 0] * shape[1] + places[:, 1], mask)
        found[path] = weights if blocks[path].pool.query_independent else weights[0]
    return found
