"""From a network's logits to class scores at every pixel.

What follows the network is linear and separable: resizing its logits to the image, averaging
overlapping windows, mirroring back, resizing to the label. So each pass over an image, a `View`,
keeps the network's small logits with one matrix for the rows and one for the columns, and the
scores of pixels are made from them a stripe of rows at a time. Every image has matrices of its own:
images of many sizes share a batch, padded, and each comes out as if it were alone.

Source: mmsegmentation's `postprocess_result` and `SegTTAModel`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Integer, Shaped, UInt8

from gcnet_jax.ops import apply_separable, interpolation_matrix
from gcnet_jax.parallel import SPATIAL_AXIS, batch_sharding
from gcnet_jax.tasks.segmentation.evaluation.inference_modes import InferenceMode, LogitsGrid

_STRIPE_ELEMENTS = 2**24
"""About how many scores exist at one time, of all images of a batch: 64 MiB for each view."""


class View(NamedTuple):
    """Logits of images in one pass, with the linear maps that take them to pixels.

    The score of class `k` at pixel `(y, x)` is the sum over `i` and `j` of
    `rows[y, i] * columns[x, j] * logits[i, j, k]`.
    """

    logits: Float[Array, "b h w classes"]
    rows: Float[Array, "b out_h h"]
    columns: Float[Array, "b out_w w"]


def create_view(
    mode: InferenceMode,
    grid: LogitsGrid,
    logits: Float[Array, "b h w classes"],
    sizes: Integer[Array, "b 2"],
    bucket: tuple[int, int],
    out_sizes: Integer[Array, "b 2"],
    out_bucket: tuple[int, int],
    *,
    mirrored: bool,
    first: Integer[Array, "b 2"] | None = None,
) -> View:
    """Joins logits from `mode.decode` with the maps to the pixels of images of another size.

    Args:
        mode: that made the logits.
        grid: where the logits lie.
        logits: of images in arrays of size `bucket`.
        sizes: of these images.
        bucket: (height, width) of their arrays.
        out_sizes: (height, width) of each result.
        out_bucket: of the results' arrays.
        mirrored: whether the images were mirrored left to right; the results are not.
        first: (row, column) of each result at which its array begins, if not with the first pixel.
    """
    maps = []
    for axis in (0, 1):
        pixels = mode.to_pixels(grid, sizes[:, axis], bucket[axis], axis)
        if mirrored and axis == 1:
            pixels = jnp.take_along_axis(
                pixels, _mirrored(sizes[:, 1], bucket[1])[:, :, None], axis=1
            )
        resizing = interpolation_matrix(
            sizes[:, axis],
            out_sizes[:, axis],
            (bucket[axis], out_bucket[axis]),
            align_corners=grid.align_corners,
            first=0 if first is None else first[:, axis],
        )
        maps.append(jnp.matmul(resizing, pixels, precision=lax.Precision.HIGHEST))
    return View(logits, *maps)


def score_pixels(
    views: Sequence[View],
    result: Callable[[Float[Array, "b rows w classes"]], Shaped[Array, "b rows w *rest"]],
    mesh: Mesh | None = None,
    *,
    rows_at_once: int | None = None,
) -> Shaped[Array, "b h w *rest"]:
    """What a function makes of the class scores of every pixel.

    Scores are the logits of a single view, or the mean of the class probabilities of several. They
    are made a stripe of rows at a time: those of a whole batch may not fit into memory.

    Args:
        views: of the same images.
        result: takes the scores of some rows of all images to what is kept of them.
        mesh: over which the work is split, if any.
        rows_at_once: of a stripe, where it may not depend on the shapes; the height is a multiple.
    """
    batch, height, _ = views[0].rows.shape
    if rows_at_once is not None:
        at_once, stripes = rows_at_once, height // rows_at_once
    else:
        width, classes = views[0].columns.shape[1], views[0].logits.shape[-1]
        stripes = min(-(-batch * height * width * classes // _STRIPE_ELEMENTS), height)
        parts = 1 if mesh is None else mesh.shape[SPATIAL_AXIS]
        at_once = -(-height // (stripes * parts)) * parts

    def of_stripe(rows: list[Float[Array, "b rows h"]]) -> Shaped[Array, "b rows w *rest"]:
        if mesh is not None:
            rows = [
                lax.with_sharding_constraint(x, batch_sharding(mesh, of_images=True)) for x in rows
            ]
        scores = [
            apply_separable(view.logits, stripe, view.columns)
            for view, stripe in zip(views, rows, strict=True)
        ]
        if len(scores) > 1:
            return result(jnp.mean(jnp.stack([jax.nn.softmax(s) for s in scores]), axis=0))
        return result(scores[0])

    def split(rows: Float[Array, "b h positions"]) -> Float[Array, "stripes b rows positions"]:
        padded = jnp.pad(rows, ((0, 0), (0, stripes * at_once - height), (0, 0)))
        return jnp.moveaxis(padded.reshape(batch, stripes, at_once, -1), 1, 0)

    kept = jnp.moveaxis(lax.map(of_stripe, [split(view.rows) for view in views]), 0, 1)
    return kept.reshape(batch, stripes * at_once, *kept.shape[3:])[:, :height]


def mirror(
    images: UInt8[Array, "b h w 3"], sizes: Integer[Array, "b 2"]
) -> UInt8[Array, "b h w 3"]:
    """Mirrors each image left to right where it lies, at the left of its array."""
    order = _mirrored(sizes[:, 1], images.shape[2])
    return jnp.take_along_axis(images, order[:, None, :, None], axis=2)


def _mirrored(lengths: Integer[Array, " b"], bucket: int) -> Integer[Array, "b bucket"]:
    """Positions in the opposite order, those of the padding too, which stays behind."""
    return (lengths[:, None] - 1 - jnp.arange(bucket)) % bucket
