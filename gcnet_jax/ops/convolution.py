"""The convolution every layer goes through: what each platform computes fastest, the same values.

| kernel | accelerators | CPU |
| --- | --- | --- |
| 1x1 | matrix product | matrix product |
| 3x3 of float32 that keeps the size, 64 channels or more | XLA's convolution | `winograd` |
| others | XLA's convolution | XLA's convolution |

Of a map that is small beside its dilation, `winograd` would compute mostly padding: XLA's then.
Which platform it is shows when a program is compiled for it. Three have gradient rules of their
own:

- The matrix product: the gradient by the kernel that JAX derives comes out transposed, and on CPU
  the copies that turn it round cost as much as the product.
- `winograd`: by tiles as well.
- Dilated 3x3 kernels that keep the size: JAX derives a convolution whose window is the map, and
  moves by the dilation. XLA takes that for what it says, not for the gradient by a kernel, and on
  NVIDIA's GPUs it takes ten times as long as it would undilated: there the phases of the map are
  convolved without dilation, see `_phases`.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType
from jaxtyping import Array, Float

from gcnet_jax.ops import winograd

_CHANNELS_LAST_2D = ("NHWC", "HWIO", "NHWC")
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
    the same values up to rounding; `dimension_numbers`, if given, must be channels-last too. It can
    be differentiated in reverse mode, and what that yields again in either mode; `jax.jvp` of the
    convolution itself is refused by JAX.

    Programs that are partitioned over several devices (`jax.sharding.use_abstract_mesh`) keep XLA's
    3x3 convolution, whose partitioner knows how to halo it.
    """
    precision = kwargs.get("precision")
    dilation = tuple(kwargs.get("rhs_dilation") or (1,) * (lhs.ndim - 2))
    simple = (
        all(stride == 1 for stride in window_strides)
        and kwargs.get("feature_group_count", 1) == 1
        and kwargs.get("batch_group_count", 1) == 1
        and all(factor == 1 for factor in kwargs.get("lhs_dilation") or (1,))
        and kwargs.get("preferred_element_type") is None
    )
    if simple and all(size == 1 for size in rhs.shape[:-2]) and _adds_nothing(padding):
        return _pointwise(lhs, rhs.reshape(rhs.shape[-2:]), precision)
    if simple and _is_3x3_that_keeps_size(rhs.shape, dilation, padding):
        by_tiles = (
            lhs.dtype == rhs.dtype == jnp.float32
            and min(rhs.shape[-2:]) >= _FEWEST_CHANNELS
            and winograd.saves(lhs.shape[1], lhs.shape[2], dilation[0])
            and not _is_partitioned()
        )
        if by_tiles or dilation[0] > 1:
            return _same_3x3(lhs, rhs, dilation[0], by_tiles, precision)
    return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **kwargs)


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


def _is_partitioned() -> bool:
    """Whether what is traced is of arrays that are spread over devices, for XLA to split."""
    mesh = jax.sharding.get_abstract_mesh()
    return any(
        size > 1 and kind != AxisType.Manual
        for size, kind in zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _pointwise(
    x: Float[Array, "b *spatial c_in"],
    kernel: Float[Array, "c_in c_out"],
    precision: lax.PrecisionLike,
) -> Float[Array, "b *spatial c_out"]:
    return jnp.matmul(x, kernel, precision=precision)


def _pointwise_forward(x, kernel, precision):
    return jnp.matmul(x, kernel, precision=precision), (x, kernel)


def _pointwise_backward(precision, saved, gradient):
    x, kernel = saved
    x = lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)
    positions = tuple(range(x.ndim - 1))
    dot = functools.partial(lax.dot_general, precision=precision)
    return (
        dot(gradient, kernel, (((x.ndim - 1,), (1,)), ((), ()))),
        dot(x, gradient, ((positions, positions), ((), ()))),
    )


_pointwise.defvjp(_pointwise_forward, _pointwise_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _same_3x3(
    x: Float[Array, "b h w c_in"],
    kernel: Float[Array, "3 3 c_in c_out"],
    dilation: int,
    by_tiles: bool,
    precision: lax.PrecisionLike,
) -> Float[Array, "b h w c_out"]:
    """A 3x3 convolution that keeps the size; on CPUs by `winograd` if `by_tiles`."""
    return _same_3x3_forward(x, kernel, dilation, by_tiles, precision)[0]


def _same_3x3_forward(x, kernel, dilation, by_tiles, precision):
    xla = functools.partial(_xla_3x3, dilation=dilation, precision=precision)
    if not by_tiles:
        return xla(x, kernel), (x, kernel)
    tiles = functools.partial(winograd.convolve, dilation=dilation)
    return lax.platform_dependent(x, kernel, cpu=tiles, default=xla), (x, kernel)


def _same_3x3_backward(dilation, by_tiles, precision, saved, gradient):
    # The transposes alone, without the convolution itself.
    def by_input(x, kernel, gradient):
        def convolve(x):
            return _xla_3x3(x, kernel, dilation=dilation, precision=precision)

        return jax.linear_transpose(convolve, x)(gradient)[0]

    def by_kernel(x, kernel, gradient, dilation):
        def convolve(kernel):
            return _xla_3x3(x, kernel, dilation=dilation, precision=precision)

        return jax.linear_transpose(convolve, kernel)(gradient)[0]

    def of_xla(x, kernel, gradient):
        return by_input(x, kernel, gradient), by_kernel(x, kernel, gradient, dilation)

    def of_phases(x, kernel, gradient):
        phases = _phases(x, dilation), kernel, _phases(gradient, dilation)
        return by_input(x, kernel, gradient), by_kernel(*phases, dilation=1)

    def of_tiles(x, kernel, gradient):
        return (
            winograd.input_gradient(gradient, kernel, dilation),
            winograd.kernel_gradient(x, gradient, dilation),
        )

    ways = {"cuda": of_phases} if dilation > 1 else {}
    ways |= {"cpu": of_tiles} if by_tiles else {}
    return lax.platform_dependent(*saved, gradient, **ways, default=of_xla)


_same_3x3.defvjp(_same_3x3_forward, _same_3x3_backward)


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


def _xla_3x3(x, kernel, *, dilation, precision):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(dilation, dilation)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_CHANNELS_LAST_2D,
        precision=precision,
    )
