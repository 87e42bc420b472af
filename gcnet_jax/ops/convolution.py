"""The convolution every layer goes through: what each platform computes fastest, the same values.

| kernel | accelerators | CPU |
| --- | --- | --- |
| 1x1 | matrix product | matrix product |
| 3x3 of float32 that keeps the size, 64 channels or more | XLA's convolution | `winograd` |
| others | XLA's convolution | XLA's convolution |

Of a map that is small beside its dilation, `winograd` would compute mostly padding: XLA's then.
Which platform it is shows when a program is compiled for it. The first two have gradient rules of
their own. That of the matrix product is here because the gradient by the kernel that JAX derives
comes out transposed, and on CPU the copies that turn it round cost as much as the product.
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
    if (
        simple
        and rhs.shape[:-2] == (3, 3)
        and dilation[0] == dilation[1]
        and not isinstance(padding, str)
        and all(tuple(pair) == (dilation[0],) * 2 for pair in padding)
        and lhs.dtype == rhs.dtype == jnp.float32
        and min(rhs.shape[-2:]) >= _FEWEST_CHANNELS
        and winograd.saves(lhs.shape[1], lhs.shape[2], dilation[0])
        and not _is_partitioned()
    ):
        return _same_3x3(lhs, rhs, dilation[0], precision)
    return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **kwargs)


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _same_3x3(
    x: Float[Array, "b h w c_in"],
    kernel: Float[Array, "3 3 c_in c_out"],
    dilation: int,
    precision: lax.PrecisionLike,
) -> Float[Array, "b h w c_out"]:
    """A 3x3 convolution that keeps the size."""
    return _same_3x3_forward(x, kernel, dilation, precision)[0]


def _same_3x3_forward(x, kernel, dilation, precision):
    result = lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(winograd.convolve, dilation=dilation),
        default=functools.partial(_xla_3x3, dilation=dilation, precision=precision),
    )
    return result, (x, kernel)


def _same_3x3_backward(dilation, precision, saved, gradient):
    def of_xla(x, kernel, gradient):  # the transposes alone, without the convolution itself
        def convolve(x, kernel):
            return _xla_3x3(x, kernel, dilation=dilation, precision=precision)

        (by_input,) = jax.linear_transpose(lambda x: convolve(x, kernel), x)(gradient)
        (by_kernel,) = jax.linear_transpose(lambda kernel: convolve(x, kernel), kernel)(gradient)
        return by_input, by_kernel

    def of_tiles(x, kernel, gradient):
        return (
            winograd.input_gradient(gradient, kernel, dilation),
            winograd.kernel_gradient(x, gradient, dilation),
        )

    return lax.platform_dependent(*saved, gradient, cpu=of_tiles, default=of_xla)


_same_3x3.defvjp(_same_3x3_forward, _same_3x3_backward)


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
