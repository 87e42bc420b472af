"""What the block is worth to semantic segmentation: two networks on context_shapes, and a page."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import nnx
from jaxtyping import Array, Float, PyTree, UInt8

from gcnet_jax.analysis import heat_bar, heat_overlay
from gcnet_jax.cli.with_and_without import WITH_BLOCK, WITHOUT_BLOCK, Demonstration, Pair
from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.picture_rows import Picture, save_page
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, prepare
from gcnet_jax.tasks.segmentation.evaluation import colorize
from gcnet_jax.tasks.segmentation.task import TASK
from gcnet_jax.training.curves import Curve

_DATA_SET = "context_shapes"
_PICTURES = range(3, 9)  # of the test split: by day and by night, discs and squares
_ENLARGED = 2  # times, which leaves the bar room for its figures


def _draw(path: epath.Path, pair: Pair, curves: Sequence[Curve], data_dir: epath.Path) -> None:
    classes, samples = DATA_SETS.meaning(_DATA_SET), _samples(data_dir)
    images = np.stack([sample["image"] for sample in samples])
    rows = [
        {"image": sample["image"], "label": colorize(sample["label"], classes.palette)}
        for sample in samples
    ]
    for words, trained in ((WITH_BLOCK, pair.with_block), (WITHOUT_BLOCK, pair.without_block)):
        labels = np.asarray(_labels(trained.graphdef, trained.variables, images))
        for row, label in zip(rows, labels, strict=True):
            row[words] = colorize(label, classes.palette)
    with_block = pair.with_block
    maps = np.asarray(_attention(with_block.graphdef, with_block.variables, images), np.float32)
    rows = [_with_attention(*row) for row in zip(rows, maps, strict=True)]
    save_page(path, rows, classes.legend, curves)


@functools.cache
def _samples(data_dir: epath.Path) -> list[dict[str, Any]]:
    records = DATA_SETS.open_split(_DATA_SET, data_dir, "test")
    return [dict(decode(records[i])) for i in _PICTURES]


def _with_attention(
    row: dict[str, Picture], weights: Float[np.ndarray, "h w"]
) -> dict[str, Picture]:
    """An image's pictures, enlarged, and beside them its attention with a bar of its colours.

    Each map has its own range, as `gcnet analyze_context attention` draws it.
    """
    overlay = _enlarged(heat_overlay(row["image"], weights))
    bar = heat_bar(weights, overlay.shape[1])
    no_bar = np.full_like(bar, 255)
    pictures = {title: np.vstack([_enlarged(x), no_bar]) for title, x in row.items()}
    return {**pictures, "attention of the block": np.vstack([overlay, bar])}


def _enlarged(picture: Picture) -> Picture:
    return picture.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)


# The network's structure is the same at every checkpoint: each is compiled once.
@functools.partial(jax.jit, static_argnums=0)
def _labels(
    graphdef: nnx.GraphDef, variables: PyTree, images: UInt8[Array, "b h w 3"]
) -> UInt8[Array, "b h w"]:
    return merge(graphdef, variables)(normalize_images(images)).argmax(-1).astype(np.uint8)


@functools.partial(jax.jit, static_argnums=0)
def _attention(
    graphdef: nnx.GraphDef, variables: PyTree, images: UInt8[Array, "b h w 3"]
) -> Float[Array, "b h w"]:
    return merge(graphdef, variables).attention(normalize_images(images))


DEMONSTRATION = Demonstration(
    task=TASK,
    configs={"gcnet": "context_shapes/gcnet", "fcn": "context_shapes/fcn"},
    prepare=functools.partial(prepare, _DATA_SET),
    few_steps=400,
    seconds_around=40,
    seconds_a_step=0.12,
    draw=_draw,
)
"""Networks whose receptive field ends before the cue that decides the class of a shape."""
