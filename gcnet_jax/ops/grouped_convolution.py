"""Convolution in groups of channels, whose gradient by the kernel has a form of its own on CPUs.

JAX derives a convolution in groups of the batch, which XLA computes on CPUs in some hundred times
the time of the convolution itself. It is nine matrix products a group, or as many as the kernel has
taps; the convolution and its gradient by the features are XLA's everywhere.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gcnet_jax.ops.bilinear import Bilinear, SharedAxes


def grouped_convolution(
    lhs: Float[Array, "b h w c_in"],
    rhs: Float[Array, "kernel_h kernel_w c_in_of_group c_out"],
    *,
    groups: int,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    precision: lax.PrecisionLike,
) -> Float[Array, "b out_h out_w c_out"]:
    """The convolution in which each group of input channels makes an equal part of the output's.

    Args:
        lhs: the features.
        rhs: the kernel.
        groups: of input channels.
        strides: from one output to the next, along each axis.
        padding: before and behind, along each axis.
        dilation: from one tap of the kernel to the next, along each axis.
        precision: of the products, those of gradients too.
    """
    form = _Grouped(
        groups,
        tuple(strides),
        tuple((low, high) for low, high in padding),
        tuple(dilation),
        lhs.shape[1:3],
        rhs.shape[:2],
        precision,
    )
    return form(lhs, rhs)


@dataclasses.dataclass(frozen=True)
class _Grouped(Bilinear):
    """The convolution of `(b, h, w, c_in)` by `(kernel_h, kernel_w, c_in / groups, c_out)`.

    Attributes:
        lengths: of the features' spatial axes.
        taps: of the kernel along each axis.
    """

    groups: int
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    lengths: tuple[int, ...]
    taps: tuple[int, ...]
    precision: lax.PrecisionLike

    @property
    def shared_axes(self) -> SharedAxes:
        return SharedAxes(None, (-4, -4), None)  # channels are those of a group on one side alone

    def product(self, first: Array, second: Array) -> Array:
        return lax.conv_general_dilated(
            first,
            second,
            self.strides,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
            precision=self.precision,
        )

    def by_first(self, second: Array, cotangent: Array) -> Array:
        shape = (cotangent.shape[0], *self.lengths, self.groups * second.shape[-2])
        like = jax.ShapeDtypeStruct(shape, second.dtype)
        return jax.linear_transpose(lambda first: self.product(first, second), like)(cotangent)[0]

    def by_second(self, first: Array, cotangent: Array) -> Array:
        def by_xla(first: Array, cotangent: Array) -> Array:
            shape = (*self.taps, first.shape[-1] // self.groups, cotangent.shape[-1])
            like = jax.ShapeDtypeStruct(shape, first.dtype)
            transpose = jax.linear_transpose(lambda second: self.product(first, second), like)
            return transpose(cotangent)[0]

        return lax.platform_dependent(first, cotangent, cpu=self._by_taps, default=by_xla)

    def _by_taps(self, first: Array, cotangent: Array) -> Array:
        """For each tap the product of what it reads and the cotangent, in each group."""
        channels = first.shape[-1] // self.groups
        bordered = jnp.pad(first, ((0, 0), *self.padding, (0, 0)))
        cotangent = cotangent.reshape(*cotangent.shape[:3], self.groups, -1)
        rows, columns = (
            [
                slice(tap * step, tap * step + (length - 1) * stride + 1, stride)
                for tap in range(count)
            ]
            for count, step, length, stride in zip(
                self.taps, self.dilation, cotangent.shape[1:3], self.strides, strict=True
            )
        )
        products = []
        for row, column in itertools.product(rows, columns):
            read = bordered[:, row, column]
            read = read.reshape(*read.shape[:3], self.groups, channels)
            products.append(
                jnp.einsum("bhwgi,bhwgo->igo", read, cotangent, precision=self.precision)
            )
        return jnp.stack(products).reshape(*self.taps, channels, -1)
