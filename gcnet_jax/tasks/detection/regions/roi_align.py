"""RoIAlign: the features in a box, as a grid of bins of fixed size, by bilinear samples.

Samples of a bin form a grid, and both what clamps a sample to the map and what tests whether it
lies outside act on each axis alone. So the features of a box are `Wy F Wx^T`, with matrices of
shape (bins, pixels) that depend on the box. They are computed for tiles of the map, of which a box
covers as many as it needs: exact for boxes of any size, in little memory.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from gcnet_jax.errors import InputError
from gcnet_jax.ops.linear import Linear

_TILE = 2**16
"""Numbers in a tile, about: what a processor's nearest memories hold."""
_LONGEST_SIDE = 128
"""The longest side of a tile. With few channels to make the matrices costs more than their use."""
_FEWEST_SAMPLES = 5
"""With adaptive sampling two samples are more than half a pixel apart, or a bin has one: four lie
within a pixel of any place, and one more is allowed for rounding."""

_product = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
"""Accelerators would round the shares by default, by which targets of masks are decided."""


@functools.partial(jax.jit, static_argnames=("bins", "sampling_ratio"))
def roi_align(
    pyramid: Sequence[Shaped[Array, "b _h _w c"]],
    boxes: Float[Array, "r 4"],
    images: Int[Array, "r"],
    levels: Int[Array, "r"],
    *,
    strides: Sequence[int],
    bins: int,
    sampling_ratio: int = 0,
    sizes: Sequence[Int[Array, "b 2"]] | None = None,
) -> Float[Array, "r bins bins c"]:
    """Returns the features of each box in its level, as mmcv's aligned RoIAlign (mean) does.

    A sample is zero, and counted, if it lies more than a pixel outside the map. A box without area,
    or of an image or level that is not there, gets zeros. It can be differentiated by the pyramid
    in both modes; boxes get no gradient. Gradients keep nothing but the boxes, and are sums over
    the boxes in order, so that the bits are the same each time, on any platform. `jax.vmap` maps
    it in a loop: an index of images does the same.

    The loop over boxes was made for CPUs. Accelerators, on which it was not measured, may want more
    work at once.

    Args:
        pyramid: maps, the finest first. Numbers must be finite also where a box does not reach.
            Of integers or booleans the result is float32.
        boxes: (x1, y1, x2, y2) in pixels of the network's input.
        images: which of the batch each box lies in.
        levels: which map each is looked up in.
        strides: pixels of the input in a position of each map.
        bins: along both sides of the result.
        sampling_ratio: samples of a bin along each axis; 0 for as many as it covers positions.
        sizes: height and width of the part of each map that is the image's own, if that is smaller
            than the map: samples are clamped to it and tested against it.

    Raises:
        InputError: there are not as many strides, or sizes, as maps.
    """
    if not len(pyramid) == len(strides) == len(pyramid if sizes is None else sizes):
        raise InputError(
            f"{len(pyramid)} maps with {len(strides)} strides"
            + ("" if sizes is None else f" and {len(sizes)} sizes")
            + "; expected as many of each"
        )
    shapes = tuple(x.shape for x in pyramid)
    if sizes is None:
        whole = [jnp.broadcast_to(jnp.array(shape[1:3]), (shape[0], 2)) for shape in shapes]
    else:
        whole = list(sizes)
    places = places_of(boxes, images, levels, strides, jnp.stack(whole), bins, sampling_ratio)
    form = RegionPooling(shapes, bins, sampling_ratio)
    return form(places, tuple(pyramid))


class Extent(NamedTuple):
    """Boxes along one axis, in positions of their maps."""

    start: Float[Array, "r"]
    bin: Float[Array, "r"]
    samples: Int[Array, "r"]
    """The number of samples of each bin."""
    length: Int[Array, "r"]
    """The number of positions of the map."""
    first: Int[Array, "r"]
    """The first position that any sample has a share in."""
    spanned: Int[Array, "r"]
    """The number of positions from the first to the last one that has a share; 0 if none has."""


class Places(NamedTuple):
    """Boxes in the order of their levels, where they are in the given order, and their extents."""

    order: Int[Array, "r"]
    level_starts: Int[Array, "levels_and_one"]
    images: Int[Array, "r"]
    rows: Extent
    columns: Extent


def places_of(
    boxes: Float[Array, "r 4"],
    images: Int[Array, "r"],
    levels: Int[Array, "r"],
    strides: Sequence[int],
    sizes: Int[Array, "levels b 2"],
    bins: int,
    sampling_ratio: int,
) -> Places:
    """Returns where boxes lie in their maps; arguments as of `roi_align`."""
    boxes = lax.stop_gradient(jnp.asarray(boxes))
    images, levels = (jnp.asarray(index, jnp.int32) for index in (images, levels))
    count, batch = sizes.shape[:2]
    order = jnp.lexsort((images, levels))
    boxes, images, levels = boxes[order], images[order], levels[order]
    # Counted, not searched: how many boxes there are may be open while a program is exported.
    level_starts = jnp.sum(levels < jnp.arange(count + 1)[:, None], axis=1)
    there = (images >= 0) & (images < batch) & (levels >= 0) & (levels < count)
    levels, images = jnp.where(there, levels, 0), jnp.where(there, images, 0)
    boxes = boxes.astype(jnp.promote_types(boxes.dtype, jnp.float32))
    there &= jnp.all(jnp.isfinite(boxes), axis=1)
    boxes = jnp.where(there[:, None], boxes, 0)  # of which nothing is sampled
    boxes = boxes / jnp.asarray(strides, boxes.dtype)[levels, None] - 0.5
    lengths = sizes[levels, images]
    rows, columns = (
        _extent(boxes[:, axis], boxes[:, axis + 2], lengths[:, 1 - axis], bins, sampling_ratio)
        for axis in (1, 0)
    )
    rows = rows._replace(spanned=jnp.where(there, rows.spanned, 0))
    return Places(order, level_starts, images, rows, columns)


def _extent(start: Array, end: Array, length: Array, bins: int, sampling_ratio: int) -> Extent:
    size = end - start
    each = size / bins
    if sampling_ratio:
        samples = jnp.full(start.shape, sampling_ratio, jnp.int32)
    else:
        # `ceil(size / bins)`. XLA divides by multiplying with the inverse, which is too much for
        # some multiples of `bins`: so from one less on, by products, which are exact.
        whole = jnp.floor(each) - 1
        for _ in range(3):
            whole = whole + (size > whole * bins)
        samples = jnp.clip(whole, 0, 2**24).astype(jnp.int32)
    half = 0.5 * each / jnp.maximum(samples, 1)
    ends = start + half, end - half
    low, high = jnp.minimum(*ends) - 0.01, jnp.maximum(*ends) + 0.01  # what rounding may add
    last = (length - 1).astype(size.dtype)
    first = jnp.floor(jnp.clip(low, 0, last)).astype(jnp.int32)
    beyond = jnp.minimum(jnp.floor(jnp.clip(high, 0, last)).astype(jnp.int32) + 2, length)
    nothing = (samples == 0) | (high < -1) | (low > length)
    return Extent(start, each, samples, length, first, jnp.where(nothing, 0, beyond - first))


@dataclasses.dataclass(frozen=True)
class RegionPooling(Linear):
    """The features of boxes at their `Places`: linear in maps of these shapes."""

    shapes: tuple[tuple[int, ...], ...]
    bins: int
    sampling_ratio: int

    def product(
        self, residuals: Places, operands: tuple[Shaped[Array, "b _h _w c"], ...]
    ) -> Float[Array, "r bins bins c"]:
        """Returns the features; of maps that are no floats, in float32."""
        given = operands[0].dtype
        dtype = given if jnp.issubdtype(given, jnp.floating) else jnp.float32
        shape = residuals.order.size, self.bins, self.bins, self.shapes[0][3]
        # Zeros that a loop begins with vary over the axes of a `jax.shard_map` as its results do.
        result = jnp.zeros_like(operands[0], dtype, shape)
        for level, features in enumerate(operands):
            result = self._pool(residuals, level, features, result)
        return result

    def transpose(
        self, residuals: Places, cotangents: Float[Array, "r bins bins c"]
    ) -> tuple[Float[Array, "b _h _w c"], ...]:
        """Returns sums over the boxes, in the order of `Places`."""
        return tuple(
            self._spread(residuals, level, cotangents) for level in range(len(self.shapes))
        )

    def part(self, features: Array, at: Sequence[Array | int], tile: tuple[int, int]) -> Array:
        """Returns a tile of a map, of shape (*tile, channels), by where it begins."""
        return lax.dynamic_slice(features, at, (1, *tile, features.shape[3]))[0]

    def _pool(self, places: Places, level: int, features: Array, result: Array) -> Array:
        bins, shape = self.bins, self.shapes[level]
        channels, tile = shape[3], _tile(shape)

        def of_box(k: Array, result: Array) -> Array:
            def add(t: Array, total: Array) -> Array:
                at, by_row, by_column = self._tile_of(places, k, t, tile, shape)
                part = self.part(features, at, tile).astype(total.dtype)
                # Columns first: products of small matrices, before one with long rows.
                part = _product("yjx,yxc->yjc", _repeated(by_column, tile[0]), part)
                part = _product("iy,yk->ik", by_row, part.reshape(tile[0], bins * channels))
                return total + part.reshape(total.shape)

            # Sums, here and in the transpose, are in float32 at least.
            wide = jnp.promote_types(result.dtype, jnp.float32)
            total = jnp.zeros_like(features, wide, (bins, bins, channels))
            total = lax.fori_loop(0, _tiles(places, k, tile), add, total).astype(result.dtype)
            return lax.dynamic_update_slice(result, total[None], (places.order[k], 0, 0, 0))

        return lax.fori_loop(*_range(places, level), of_box, result)

    def _spread(self, places: Places, level: int, cotangents: Array) -> Array:
        bins, channels = self.bins, cotangents.shape[3]
        shape, wide = self.shapes[level], jnp.promote_types(cotangents.dtype, jnp.float32)
        tile = _tile(shape)

        def of_box(k: Array, result: Array) -> Array:
            own = cotangents[places.order[k]].astype(wide).reshape(bins, bins * channels)

            def add(t: Array, result: Array) -> Array:
                at, by_row, by_column = self._tile_of(places, k, t, tile, shape)
                part = _product("iy,ik->yk", by_row, own).reshape(tile[0], bins, channels)
                part = _product("yxj,yjc->yxc", _repeated(by_column.T, tile[0]), part)
                before = lax.dynamic_slice(result, at, (1, *tile, channels))
                return lax.dynamic_update_slice(result, before + part[None], at)

            return lax.fori_loop(0, _tiles(places, k, tile), add, result)

        zeros = jnp.zeros_like(cotangents, wide, shape)
        total = lax.fori_loop(*_range(places, level), of_box, zeros)
        return total.astype(cotangents.dtype)

    def _tile_of(
        self, places: Places, k: Array, t: Array, tile: tuple[int, int], shape: tuple[int, ...]
    ) -> tuple[tuple[Array | int, ...], Array, Array]:
        """Where tile `t` of box `k` begins in the map, and its matrices."""
        rows, columns = (
            Extent(*(field[k] for field in extent)) for extent in (places.rows, places.columns)
        )
        across = -(-columns.spanned // tile[1])
        begins, matrices = [], []
        for axis, (extent, number) in enumerate(((rows, t // across), (columns, t % across))):
            first = extent.first + number * tile[axis]
            # A slice that reached beyond the map would be moved by XLA: it is moved here, and what
            # the tile before it has is left out.
            begin = jnp.minimum(first, shape[1 + axis] - tile[axis])
            positions = begin + jnp.arange(tile[axis])
            matrix = self._shares(extent, positions.astype(extent.start.dtype))
            begins.append(begin)
            matrices.append(jnp.where(positions >= first, matrix, 0))
        return (places.images[k], *begins, 0), matrices[0], matrices[1]

    def _shares(self, extent: Extent, positions: Float[Array, "n"]) -> Float[Array, "bins n"]:
        """The mean over the samples of each bin of what they take of each position."""
        samples = extent.samples.astype(positions.dtype)
        starts = extent.start + jnp.arange(self.bins)[:, None] * extent.bin
        number = jnp.arange(self.sampling_ratio or _FEWEST_SAMPLES)[:, None, None]
        if not self.sampling_ratio:  # from the first that is near
            near = (positions - 1 - starts) * samples / extent.bin - 0.5
            number = number + jnp.maximum(jnp.floor(near), 0)
        at = starts + (number + 0.5) * extent.bin / samples
        counts = (number < samples) & (at >= -1) & (at <= extent.length)
        at = jnp.clip(at, 0, extent.length - 1)
        share = jnp.maximum(1 - jnp.abs(at - positions), 0)
        return jnp.sum(jnp.where(counts, share, 0), axis=0) / samples


def _tile(shape: tuple[int, ...]) -> tuple[int, int]:
    side = min(max(math.isqrt(_TILE // shape[3]), 8), _LONGEST_SIDE)
    return min(side, shape[1]), min(side, shape[2])


def _range(places: Places, level: int) -> tuple[Array, Array]:
    """The boxes of a level, from the first to the one after the last."""
    return places.level_starts[level], places.level_starts[level + 1]


def _tiles(places: Places, k: Array, tile: tuple[int, int]) -> Array:
    return -(-places.rows.spanned[k] // tile[0]) * -(-places.columns.spanned[k] // tile[1])


def _repeated(matrix: Array, times: int) -> Array:
    return jnp.broadcast_to(matrix, (times, *matrix.shape))
