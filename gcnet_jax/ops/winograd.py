"""3x3 convolutions with fewer multiplications, by the minimal filtering F(2x2, 3x3).

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4.1.
Four outputs of a plain 3x3 convolution take 36 multiplications. Here tiles of 4x4 inputs and the
kernel are taken to a space where the convolution is a product of 16 values, and from there to 2x2
outputs. Across channels these products are 16 matrix products. The gradients are computed in that
space as well. The transformations add, subtract and halve, so that rounding is about that of the
plain convolution.

With dilation d, pixels whose rows and columns are the same modulo d make images of their own, each
of which is convolved without dilation.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim
from jaxtyping import Array, Float

_TILE, _OUTPUTS, _KERNEL = 4, 2, 3


def saves(height: int, width: int, dilation: int) -> bool:
    """Whether an image, padded to whole tiles, takes fewer multiplications than a plain 3x3.

    One whose size is not known while a program is exported is taken to be large, and so to do.
    """
    if is_symbolic_dim(height) or is_symbolic_dim(width):
        return True
    tiles = math.prod(-(-extent // (_OUTPUTS * dilation)) * dilation for extent in (height, width))
    return tiles * _TILE**2 < _KERNEL**2 * height * width


@functools.partial(jax.jit, static_argnames="dilation")
def convolve(
    x: Float[Array, "b h w c_in"], kernel: Float[Array, "3 3 c_in c_out"], dilation: int
) -> Float[Array, "b h w c_out"]:
    """Cross-correlation with `dilation` zeros around, which keeps the size."""
    products = jnp.matmul(_input_tiles(_kept(x), dilation), _kernel_tile(kernel))
    return _outputs(products, x.shape, dilation)


@functools.partial(jax.jit, static_argnames="dilation")
def input_gradient(
    gradient: Float[Array, "b h w c_out"], kernel: Float[Array, "3 3 c_in c_out"], dilation: int
) -> Float[Array, "b h w c_in"]:
    """The gradient of `convolve` by its input: a convolution with the kernel turned round."""
    tile = _kernel_tile(kernel[::-1, ::-1])
    products = jnp.einsum("ktd,kcd->ktc", _input_tiles(_kept(gradient), dilation), tile)
    return _outputs(products, gradient.shape, dilation)


@functools.partial(jax.jit, static_argnames="dilation")
def kernel_gradient(
    x: Float[Array, "b h w c_in"], gradient: Float[Array, "b h w c_out"], dilation: int
) -> Float[Array, "3 3 c_in c_out"]:
    """The gradient of `convolve` by its kernel."""
    inputs, outputs = _input_tiles(_kept(x), dilation), _output_tiles(_kept(gradient), dilation)
    products = jnp.einsum("ktc,ktd->kcd", inputs, outputs)
    products = products.reshape(_TILE, _TILE, *products.shape[1:])
    return _along(_kernel_adjoint, _along(_kernel_adjoint, products, 0), 1)


Transformation = Callable[[Sequence[Array]], list[Array]]


def _of_input(x: Sequence[Array]) -> list[Array]:
    """The paper's B^T: four inputs in a row to the transformed four."""
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]]


def _of_kernel(x: Sequence[Array]) -> list[Array]:
    """The paper's G: three weights to four."""
    outer, middle = (x[0] + x[2]) / 2, x[1] / 2
    return [x[0], outer + middle, outer - middle, x[2]]


def _kernel_adjoint(x: Sequence[Array]) -> list[Array]:
    """The transpose of `_of_kernel`, for gradients."""
    half_sum, half_difference = (x[1] + x[2]) / 2, (x[1] - x[2]) / 2
    return [x[0] + half_sum, half_difference, x[3] + half_sum]


def _to_output(x: Sequence[Array]) -> list[Array]:
    """The paper's A^T: four products to two outputs."""
    return [x[0] + x[1] + x[2], x[1] - x[2] - x[3]]


def _output_adjoint(x: Sequence[Array]) -> list[Array]:
    """The transpose of `_to_output`, for gradients."""
    return [x[0], x[0] + x[1], x[0] - x[1], -x[1]]


def _input_tiles(x: Float[Array, "b h w c"], dilation: int) -> Float[Array, "16 tiles c"]:
    """Transformed 4x4 tiles that overlap by two pixels."""
    phases = _phases(x, dilation, before=dilation, after=dilation)
    row_tiles, column_tiles = (phases.shape[axis] // _OUTPUTS - 1 for axis in (1, 3))

    def overlapping(values: Array, tiles: int, axis: int) -> list[Array]:
        return [
            lax.slice_in_dim(values, start, start + _OUTPUTS * tiles - 1, _OUTPUTS, axis)
            for start in range(_TILE)
        ]

    rows = _kept(jnp.stack(_of_input(overlapping(phases, row_tiles, 1))))
    tiles = jnp.stack(_of_input(overlapping(rows, column_tiles, 4)), axis=1)
    return tiles.reshape(_TILE**2, -1, x.shape[-1])


def _output_tiles(gradient: Float[Array, "b h w c"], dilation: int) -> Float[Array, "16 tiles c"]:
    """Gradients of 2x2 outputs, taken back to the products they came from."""
    phases = _phases(gradient, dilation, before=0, after=0)
    b, height, _, width, _, channels = phases.shape
    shape = (b, height // 2, 2, dilation, width // 2, 2, dilation, channels)
    rows = _along(_output_adjoint, phases.reshape(shape), 2, to=0)
    tiles = _along(_output_adjoint, rows, 5, to=1)
    return tiles.reshape(_TILE**2, -1, channels)


def _kernel_tile(kernel: Float[Array, "3 3 c_in c_out"]) -> Float[Array, "16 c_in c_out"]:
    tile = _along(_of_kernel, _along(_of_kernel, kernel, 0), 1)
    return tile.reshape(_TILE**2, *kernel.shape[2:])


def _outputs(
    products: Float[Array, "16 tiles c"], shape: Sequence[int], dilation: int
) -> Float[Array, "b h w c"]:
    """Takes products to outputs, in their places, and leaves what is beyond the image."""
    b, height, width = shape[:3]
    row_tiles, column_tiles = (-(-n // (_OUTPUTS * dilation)) for n in (height, width))
    channels = products.shape[-1]
    products = products.reshape(
        _TILE, _TILE, b, row_tiles, dilation, column_tiles, dilation, channels
    )
    rows = _along(_to_output, products, 0, to=3)  # to (_TILE, b, row_tiles, _OUTPUTS, ...)
    whole = _along(_to_output, rows, 0, to=5)
    whole = whole.reshape(
        b, row_tiles * _OUTPUTS * dilation, column_tiles * _OUTPUTS * dilation, channels
    )
    return whole[:, :height, :width]


def _along(transformation: Transformation, x: Array, axis: int, *, to: int | None = None) -> Array:
    """Transforms the values along an axis, which is then at `to`."""
    values = [lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])]
    return _kept(jnp.stack(transformation(values), axis if to is None else to))


def _kept(x: Array) -> Array:
    """Makes XLA compute `x` once, where it would compute it again in each of several uses.

    On CPU only in programs that keep barriers, see `gcnet_jax.parallel.compile_for`.
    """
    return lax.optimization_barrier(x)


def _phases(
    x: Float[Array, "b h w c"], dilation: int, *, before: int, after: int
) -> Float[Array, "b rows d columns d c"]:
    """Pads to whole tiles, and tells rows and columns apart by what remains modulo `dilation`."""
    b, height, width, channels = x.shape
    padding = [(before, after + -n % (_OUTPUTS * dilation)) for n in (height, width)]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = (n // dilation for n in x.shape[1:3])
    return x.reshape(b, rows, dilation, columns, dilation, channels)
