"""The convolution every layer goes through: what each platform computes fastest, the same values.

| kernel | accelerators | CPU |
| --- | --- | --- |
| 1x1 | matrix product | matrix product |
| 3x3 of float32 that keeps the size, 64 channels or more | XLA's convolution | `winograd` |
| in groups | XLA's convolution | XLA's convolution, with `grouped_convolution`'s gradient |
| others | XLA's convolution | XLA's convolution |

Of a map that is small beside its dilation, `winograd` would compute mostly padding: XLA's then.
Which platform it is shows when a program is compiled for it. Four have transposes of their own
(`bilinear`), which are what gradients are computed by:

- The matrix product: the gradient by the kernel that JAX derives comes out transposed, and on CPU
  the copies that turn it round cost as much as the product.
- `winograd`: by tiles as well.
- Convolutions in groups: by matrix products on CPUs, see there.
- Dilated 3x3 kernels that keep the size: JAX derives a convolution whose window is the map, and
  moves by the dilation. XLA takes that for what it says, not for the gradient by a kernel, and on
  NVIDIA's GPUs it takes ten times as long as it would undilated: there the phases of the map are
  convolved without dilation, see `_phases`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType
from jaxtyping import Array, Float

from gcnet_jax.ops import winograd
from gcnet_jax.ops.bilinear import Bilinear, SharedAxes
from gcnet_jax.ops.grouped_convolution import grouped_convolution

_FEWEST_CHANNELS = 64
"""With fewer, to transform tiles costs more than the multiplications that it saves."""


def conv_general_dilated(
    lhs: Float[Array, "b *spatial c_in"],
    rhs: Float[Array, "*kernel c_in c_out"],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]] | str,
    **kwargs: Any,
) -> Float[Array, "b *out_spatial c_out"]:
    """Channels-last convolution; see the table above.

    Takes what Flax's channels-last convolutions hand to `jax.lax.conv_general_dilated`, and returns
    the same values up to rounding; `dimension_numbers` must be channels-last too, and are so if not
    given. It can be differentiated in forward and in reverse mode, as often as wanted.

    Programs that are partitioned over several devices (`jax.sharding.use_abstract_mesh`) keep XLA's
    3x3 convolution, whose partitioner knows how to halo it. On meshes with `AxisType.Explicit`
    all are those of `jax.lax`, which say how results are split.
    """
    precision = kwargs.get("precision")
    if precision is None:  # gradients have that of here, wherever they are taken
        context: Any = jax.config
        precision = context.jax_default_matmul_precision
    dilation = tuple(kwargs.get("rhs_dilation") or (1,) * (lhs.ndim - 2))
    groups = kwargs.get("feature_group_count", 1)
    plain = (
        kwargs.get("batch_group_count", 1) == 1
        and all(factor == 1 for factor in kwargs.get("lhs_dilation") or (1,))
        and kwargs.get("preferred_element_type") is None
        and lhs.dtype == rhs.dtype
        and not (_is_split_by_type(lhs) or _is_split_by_type(rhs))
    )
    if plain and groups > 1 and lhs.ndim == 4 and not isinstance(padding, str):
        return grouped_convolution(
            lhs,
            rhs,
            groups=groups,
            strides=window_strides,
            padding=padding,
            dilation=dilation,
            precision=precision,
        )
    simple = plain and groups == 1 and all(stride == 1 for stride in window_strides)
    if simple and all(size == 1 for size in rhs.shape[:-2]) and _adds_nothing(padding):
        return _Pointwise(lhs.ndim - 2, precision)(lhs, rhs.reshape(rhs.shape[-2:]))
    if simple and _is_3x3_that_keeps_size(rhs.shape, dilation, padding):
        by_tiles = (
            lhs.dtype == jnp.float32
            and min(rhs.shape[-2:]) >= _FEWEST_CHANNELS
            and winograd.saves(lhs.shape[1], lhs.shape[2], dilation[0])
            and not _is_partitioned()
        )
        if by_tiles or dilation[0] > 1:
            return _Same3x3(dilation[0], by_tiles, precision)(lhs, rhs)
    if kwargs.get("dimension_numbers") is None:
        kwargs["dimension_numbers"] = _channels_last(lhs.ndim)
    return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **kwargs)


def _channels_last(axes: int) -> lax.ConvDimensionNumbers:
    spatial = tuple(range(axes - 2))
    features = (0, axes - 1, *(axis + 1 for axis in spatial))
    return lax.ConvDimensionNumbers(features, (axes - 1, axes - 2, *spatial), features)


def _is_3x3_that_keeps_size(
    kernel: tuple[int, ...], dilation: tuple[int, ...], padding: Sequence[tuple[int, int]] | str
) -> bool:
    return (
        kernel[:-2] == (3, 3)
        and dilation[0] == dilation[1]
        and not isinstance(padding, str)
        and all(tuple(pair) == (dilation[0],) * 2 for pair in padding)
    )


def _adds_nothing(padding: Sequence[tuple[int, int]] | str) -> bool:
    if isinstance(padding, str):
        return True  # of the kinds that there are, none pads for a 1x1 kernel
    return all(tuple(pair) == (0, 0) for pair in padding)


def _is_split_by_type(x: Array) -> bool:
    """Whether the type of an array says how it is split over devices."""
    return AxisType.Explicit in jax.typeof(x).sharding.mesh.axis_types


def _is_partitioned() -> bool:
    """Whether what is traced is of arrays that are spread over devices, for XLA to split."""
    mesh = jax.sharding.get_abstract_mesh()
    return any(
        size > 1 and kind != AxisType.Manual
        for size, kind in zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    )


@dataclasses.dataclass(frozen=True)
class _Pointwise(Bilinear):
    """The product of positions `(b, *spatial, c_in)` and a matrix `(c_in, c_out)`."""

    spatial_axes: int
    precision: lax.PrecisionLike

    @property
    def shared_axes(self) -> SharedAxes:
        batch = -self.spatial_axes - 2
        return SharedAxes((-1, -2), (batch, batch), (-1, -1))

    def product(self, first: Array, second: Array) -> Array:
        return self._dot(first, second, ((first.ndim - 1,), (0,)))

    def by_first(self, second: Array, cotangent: Array) -> Array:
        return self._dot(cotangent, second, ((cotangent.ndim - 1,), (1,)))

    def by_second(self, first: Array, cotangent: Array) -> Array:
        first = lax.platform_dependent(first, cpu=lax.optimization_barrier, default=lambda x: x)
        positions = tuple(range(first.ndim - 1))
        return self._dot(first, cotangent, (positions, positions))

    def _dot(self, left: Array, right: Array, contracted: tuple) -> Array:
        return lax.dot_general(left, right, (contracted, ((), ())), precision=self.precision)


@dataclasses.dataclass(frozen=True)
class _Same3x3(Bilinear):
    """A 3x3 convolution that keeps the size, of `(b, h, w, c_in)` by `(3, 3, c_in, c_out)`.

    On CPUs it is computed by `winograd` if `by_tiles`.
    """

    dilation: int
    by_tiles: bool
    precision: lax.PrecisionLike

    @property
    def shared_axes(self) -> SharedAxes:
        return SharedAxes((-1, -2), (-4, -4), (-1, -1))

    def product(self, first: Array, second: Array) -> Array:
        def by_xla(x: Array, kernel: Array) -> Array:
            return self._convolve(x, kernel, ("NHWC", "HWIO", "NHWC"), dilation=self.dilation)

        def by_tiles(x: Array, kernel: Array) -> Array:
            return winograd.convolve(x, kernel, self.dilation)

        ways = {"cpu": by_tiles} if self.by_tiles else {}
        return lax.platform_dependent(first, second, **ways, default=by_xla)

    def by_first(self, second: Array, cotangent: Array) -> Array:
        def by_xla(kernel: Array, cotangent: Array) -> Array:
            turned = lax.rev(kernel, (0, 1))
            axes = ("NHWC", "HWOI", "NHWC")
            return self._convolve(cotangent, turned, axes, dilation=self.dilation)

        def by_tiles(kernel: Array, cotangent: Array) -> Array:
            return winograd.input_gradient(cotangent, kernel, self.dilation)

        ways = {"cpu": by_tiles} if self.by_tiles else {}
        return lax.platform_dependent(second, cotangent, **ways, default=by_xla)

    def by_second(self, first: Array, cotangent: Array) -> Array:
        axes = ("CHWN", "IHWO", "HWNC")  # the cotangent is the kernel, the batch is summed over

        def by_xla(x: Array, cotangent: Array) -> Array:
            return self._convolve(x, cotangent, axes, stride=self.dilation)

        def by_phases(x: Array, cotangent: Array) -> Array:
            phases = _phases(x, self.dilation), _phases(cotangent, self.dilation)
            return self._convolve(*phases, axes)

        def by_tiles(x: Array, cotangent: Array) -> Array:
            return winograd.kernel_gradient(x, cotangent, self.dilation)

        ways = {"cuda": by_phases} if self.dilation > 1 else {}
        ways |= {"cpu": by_tiles} if self.by_tiles else {}
        return lax.platform_dependent(first, cotangent, **ways, default=by_xla)

    def _convolve(
        self,
        x: Array,
        kernel: Array,
        axes: tuple[str, str, str],
        *,
        stride: int = 1,
        dilation: int = 1,
    ) -> Array:
        border = stride * dilation  # one of the two is 1
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((border, border), (border, border)),
            rhs_dilation=(dilation, dilation),
            dimension_numbers=axes,
            precision=self.precision,
        )


def _phases(x: Float[Array, "b h w c"], dilation: int) -> Float[Array, "phases _h _w c"]:
    """Every `dilation`-th position along both axes, for each place to begin, as a batch of maps.

    A dilated convolution that keeps the size is one without dilation of each of these. Zeros fill
    up what does not divide.
    """
    batch, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % dilation), (0, -width % dilation), (0, 0)))
    height, width = x.shape[1] // dilation, x.shape[2] // dilation
    split = x.reshape(batch, height, dilation, width, dilation, channels)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(-1, height, width, channels)
