"""Costs against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.analysis import parameter_count
from gcnet_jax.nn import Conv, GlobalContext, NonLocal, SimplifiedNonLocal, SqueezeExcite
from gcnet_jax.ops.multiply_adds import multiply_adds, traced_multiply_adds

C = 64


def gc(width, *, attention=True, transforms=1):
    """Parameters, and multiply-adds for n positions."""
    of_transform = (C * width + width) + 2 * width + (width * C + C)
    parameters = transforms * of_transform + (C + 1 if attention else 0)
    return parameters, lambda n: transforms * 2 * C * width + (2 * n * C if attention else 0)


def nl(inner, *, keys_of=lambda n: n, embeddings=3, project=0):
    parameters = embeddings * (C * inner + inner) + project + (inner * C + C)

    def products(n):
        keys = keys_of(n)
        scores = n * keys * inner if not project else (n + keys) * inner
        return (embeddings + 1) * n * C * inner + scores + n * keys * inner

    return parameters, products


BLOCKS = {
    "gc": (lambda r: GlobalContext(C, ratio=1 / 4, rngs=r), gc(C // 4)),
    "gc average": (
        lambda r: GlobalContext(C, ratio=1 / 4, pooling="average", rngs=r),
        gc(C // 4, attention=False),
    ),
    "gc both": (lambda r: GlobalContext(C, ratio=1, fusion="both", rngs=r), gc(C, transforms=2)),
    "se": (
        lambda r: SqueezeExcite(C, ratio=1 / 4, rngs=r),
        (C * 16 + 16 + 16 * C + C, lambda n: 2 * C * 16),
    ),
    "snl": (lambda r: SimplifiedNonLocal(C, rngs=r), (C * C + C + 1, lambda n: C * C + 2 * n * C)),
    "nl": (lambda r: NonLocal(C, rngs=r), nl(C // 2)),
    "nl reduction 4": (lambda r: NonLocal(C, reduction=4, rngs=r), nl(C // 4)),
    "nl concatenation": (
        lambda r: NonLocal(C, mode="concatenation", rngs=r),
        nl(C // 2, project=2 * C // 2),
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("size", [(8, 12), (40, 50)])  # in one part, and in eight
def test_the_cost_of_a_block_is_the_count_by_hand(name, size):
    make, (parameters, products) = BLOCKS[name]
    block = make(nnx.Rngs(0))
    assert parameter_count(block) == parameters
    x = jax.ShapeDtypeStruct((1, *size, C), jnp.float32)
    assert multiply_adds(block, x) == products(size[0] * size[1])


def test_sub_sampling_quarters_the_pairs_and_leaves_the_embeddings():
    block = NonLocal(C, sub_sample=True, rngs=nnx.Rngs(0))
    _, products = nl(C // 2, keys_of=lambda n: n // 4)
    x = jax.ShapeDtypeStruct((1, 40, 50, C), jnp.float32)
    assert multiply_adds(block, x) == products(2000)


def test_convolutions_loops_branches_and_compiled_functions_count_as_they_run():
    conv = Conv(3, 8, 3, stride=2, rngs=nnx.Rngs(0))
    x, matrix = jnp.ones((2, 16, 16, 3)), jnp.ones((5, 5))
    assert multiply_adds(conv, x) == 2 * 8 * 8 * 8 * 9 * 3

    def looped(matrix):
        body = jax.checkpoint(jax.jit(lambda carry, _: (carry @ matrix, None)))
        return jax.lax.scan(body, matrix, length=7)[0]

    assert multiply_adds(looped, matrix) == 7 * 125

    def branching(matrix):
        return jax.lax.cond(matrix[0, 0] > 0, lambda m: m @ m @ m, lambda m: m, matrix)

    assert multiply_adds(branching, matrix) == 2 * 125

    def unknown(matrix):
        return jax.lax.while_loop(lambda m: m[0, 0] < 9, lambda m: m @ m, matrix)

    with pytest.raises(ValueError, match="unknown length"):
        multiply_adds(unknown, matrix)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_each_gradient_of_a_convolution_costs_what_the_convolution_does(stride, dilation):
    conv = Conv(4, 8, 3, stride=stride, dilation=dilation, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(conv)
    x = jnp.ones((2, 16, 16, 4))

    def loss(params, x):
        return jnp.sum(nnx.merge(graphdef, params)(x))

    forward = multiply_adds(loss, params, x)
    gradients = jax.value_and_grad(loss, argnums=(0, 1))
    assert multiply_adds(gradients, params, x) == 3 * forward
    assert traced_multiply_adds(jax.jit(gradients).trace(params, x)) == 3 * forward


def test_compiled_programs_report_as_much():
    """XLA's own count of a program without loops, where one multiply-add is two operations.

    The convolution has too few channels for CPUs to compute it with fewer multiplications.
    """
    block = GlobalContext(256, ratio=1, rngs=nnx.Rngs(0))
    conv = Conv(16, 256, 3, rngs=nnx.Rngs(0))
    x = jax.ShapeDtypeStruct((1, 24, 24, 16), jnp.float32)

    def program(x):
        return block(conv(x))

    theirs = jax.jit(program).lower(x).cost_analysis()["flops"]
    np.testing.assert_allclose(2 * multiply_adds(program, x), theirs, rtol=0.12)  # borders, sums
