"""Deformable convolution v1: every tap of the kernel reads where an offset of its own points."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from gcnet_jax.errors import InputError
from gcnet_jax.ops.masking import inside, zero_outside
from gcnet_jax.ops.varying import varying_alike


def deformable_convolution(
    x: Float[Array, "b h w c_in"],
    offsets: Float[Array, "b out_h out_w taps_and_axes"],
    kernel: Float[Array, "kernel_h kernel_w c_in_of_group c_out"],
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 1,
    groups: int = 1,
    deform_groups: int = 1,
    sizes: Integer[Array, "b 2"] | None = None,
) -> Float[Array, "b out_h out_w c_out"]:
    """Returns the convolution of maps that are sampled bilinearly at shifted places.

    A sample at (y, x) is zero unless -1 < y < h and -1 < x < w, and neighbours outside the map
    count as zero, as in mmcv's `DeformConv2d` (Dai et al., "Deformable Convolutional Networks",
    2017). It can be differentiated by all three arrays in both modes, as often as wanted. Gradients
    keep nothing but the arguments, and sample again.

    The gradient by the maps is a scatter that adds. XLA adds in the order of the samples on CPUs,
    so that the bits are the same each time. On NVIDIA's GPUs it adds in any order, unless it is
    told to sort with `XLA_FLAGS=--xla_gpu_deterministic_ops=true`; everything else is gathers and
    matrix products.

    Args:
        x: the maps.
        offsets: what is added to the places that the taps have in a convolution, in positions of
            the map: y and x of the first tap, y and x of the second, in the order of the kernel's
            rows. All taps of the first deform group come before those of the second.
        kernel: as a grouped convolution has it: output channels are split into groups, and each
            sees one group of the input channels.
        stride: positions of the map between two outputs, along both axes.
        dilation: positions of the map between two taps.
        padding: positions that the first tap lies before the map.
        groups: how many groups of channels are convolved apart.
        deform_groups: how many groups of input channels have offsets of their own.
        sizes: height and width of each image, which lies at the upper left of its map. It is
            sampled as if it were alone: what lies beyond counts as zero. (In a map that is zero
            beyond the image already, nothing changes.)

    Raises:
        InputError: channels are not divisible by the groups, or shapes do not fit each other.
    """
    batch, *lengths, channels = x.shape
    *spans, channels_of_group, out_channels = kernel.shape
    if channels % groups or out_channels % groups or channels % deform_groups:
        raise InputError(
            f"{channels} input and {out_channels} output channels do not split into {groups} "
            f"groups with {deform_groups} groups of offsets"
        )
    if channels_of_group != channels // groups:
        raise InputError(
            f"the kernel is of shape {kernel.shape}, expected {channels // groups} input channels"
        )
    reach = [dilation * (span - 1) + 1 for span in spans]
    out_lengths = [(n + 2 * padding - r) // stride + 1 for n, r in zip(lengths, reach, strict=True)]
    taps = spans[0] * spans[1]
    expected = (batch, *out_lengths, 2 * taps * deform_groups)
    if offsets.shape != expected:
        raise InputError(f"the offsets are of shape {offsets.shape}, expected {expected}")

    if sizes is not None:
        x = zero_outside(x, inside(sizes, (lengths[0], lengths[1])))
    x, offsets, kernel = varying_alike(x, offsets, kernel)
    sample = _sampler(x, deform_groups)
    # The places of the first tap: (out_h, 1) and (1, out_w), beside an axis for the deform groups.
    rows, columns = (jnp.arange(n)[:, None] * stride - padding for n in out_lengths)
    rows = rows[:, None]

    @jax.checkpoint
    def tap(total: Array, of_tap: tuple[Array, ...]) -> tuple[Array, None]:
        row, column, offset, weights = of_tap
        sampled = sample(rows + row + offset[..., 0], columns + column + offset[..., 1])
        # With the groups in front this is one product of matrices each, three times as fast.
        grouped = jnp.moveaxis(sampled.reshape(-1, groups, channels_of_group), 1, 0)
        part = jnp.einsum("gpi,gio->gpo", grouped, weights, preferred_element_type=total.dtype)
        return total + part, None

    row, column = (dilation * n.ravel() for n in jnp.indices(spans))
    places = jnp.promote_types(offsets.dtype, jnp.float32)  # a narrow type has no fractions left
    offsets = offsets.astype(places).reshape(batch, *out_lengths, deform_groups, taps, 2)
    weights = kernel.reshape(taps, channels_of_group, groups, out_channels // groups)
    dtype = jnp.result_type(x, kernel)
    zeros = jnp.zeros_like(  # which varies where `x` does
        x,
        jnp.promote_types(dtype, jnp.float32),  # taps are summed as convolutions sum
        (groups, batch * out_lengths[0] * out_lengths[1], out_channels // groups),
    )
    of_taps = row, column, jnp.moveaxis(offsets, 4, 0), jnp.moveaxis(weights, 2, 1)
    total, _ = lax.scan(tap, zeros, of_taps)  # of any length, this is one tap to compile
    result = jnp.moveaxis(total.astype(dtype), 0, 1)
    return result.reshape(batch, *out_lengths, out_channels)


def _sampler(
    x: Float[Array, "b h w c"], deform_groups: int
) -> Callable[[Array, Array], Float[Array, "b out_h out_w deform_groups c_of_group"]]:
    """What samples maps at places y and x, each `(b, out_h, out_w, deform_groups)`.

    The maps get a border of zeros: of every sample that counts all four neighbours are there, and
    none has to be masked.
    """
    batch, height, width, channels = x.shape
    bordered = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # Of each image (h, w, deform_groups) as rows. Images are looked up apart: of a batch that is
    # split over devices, each reads its own.
    tables = bordered.reshape(batch, -1, channels // deform_groups)
    per_row = (width + 2) * deform_groups
    first = jnp.arange(deform_groups)

    def look_up(table: Array, at: Array) -> Array:
        return table.at[at].get(mode="promise_in_bounds")

    def sample(y: Array, x: Array) -> Array:
        counts = (y > -1) & (y < height) & (x > -1) & (x < width)
        # What does not count is read in the border's corner, with no gradient by its place.
        y, x = jnp.where(counts, y, -1), jnp.where(counts, x, -1)
        top, left = jnp.floor(y), jnp.floor(x)
        down, right = (
            (n - floor)[..., None].astype(tables.dtype) for n, floor in ((y, top), (x, left))
        )
        at = first + (top.astype(jnp.int32) + 1) * per_row
        at = at + (left.astype(jnp.int32) + 1) * deform_groups
        corners = (at, at + deform_groups, at + per_row, at + per_row + deform_groups)
        a, b, c, d = (jax.vmap(look_up)(tables, corner) for corner in corners)
        above, below = a * (1 - right) + b * right, c * (1 - right) + d * right
        values = above * (1 - down) + below * down
        return jnp.where(counts[..., None], values, 0)

    return sample
