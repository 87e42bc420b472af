import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from gcnet_jax.ops.linear import Linear
from gcnet_jax.parallel import create_mesh


@dataclasses.dataclass(frozen=True)
class Scaled(Linear):
    """`scale * (a + factor * b)`, whose transpose is wrong on purpose: ten times too large."""

    factor: float

    def product(self, residuals, operands):
        return residuals["scale"] * (operands[0] + self.factor * operands[1])

    def transpose(self, residuals, cotangents):
        scaled = 10 * residuals["scale"] * cotangents
        return scaled, self.factor * scaled


SCALE, A, B = (jnp.arange(3.0) + k for k in (1, 2, 3))


def apply(a, b, scale=SCALE):
    return Scaled(2.0)({"scale": scale}, (a, b))


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_tangents_are_of_the_function_and_gradients_of_its_own_transpose(wrap):
    np.testing.assert_allclose(wrap(apply)(A, B), SCALE * (A + 2 * B))
    _, tangent = wrap(lambda a, b: jax.jvp(apply, (a, b), (B, A)))(A, B)
    np.testing.assert_allclose(tangent, SCALE * (B + 2 * A))
    of_a, of_b = wrap(jax.grad(lambda a, b: apply(a, b).sum(), argnums=(0, 1)))(A, B)
    np.testing.assert_allclose(of_a, 10 * SCALE)
    np.testing.assert_allclose(of_b, 20 * SCALE)


def test_it_is_differentiated_by_one_operand_alone_and_by_no_residual():
    np.testing.assert_allclose(jax.grad(lambda b: apply(A, b).sum())(B), 20 * SCALE)
    _, tangent = jax.jvp(lambda b: apply(A, b), (B,), (A,))
    np.testing.assert_allclose(tangent, 2 * SCALE * A)
    assert not np.any(jax.grad(lambda scale: apply(A, B, scale).sum())(SCALE))
    gradient_of_b = jax.grad(lambda b: apply(A, b).sum())
    assert not np.any(jax.jvp(gradient_of_b, (B,), (A,))[1])


def test_a_transpose_is_transposed_to_the_function():
    _, transposed = jax.vjp(lambda a: apply(a, B), A)
    again = jax.linear_transpose(lambda cotangent: transposed(cotangent)[0], A)
    np.testing.assert_allclose(again(A)[0], SCALE * A)


@pytest.mark.parametrize("axes", [(0, None), (None, 1), (0, 1)])
def test_mapped_arguments_are_taken_one_after_the_other(axes):
    stacks = jnp.stack([A, B, SCALE, A]), jnp.stack([B, A, A, SCALE], axis=1)
    a, b = (
        x if axis is not None else one for x, axis, one in zip(stacks, axes, (A, B), strict=True)
    )

    def both(a, b):
        return jax.value_and_grad(lambda b: jnp.sum(apply(a, b) * a))(b)

    values, gradients = jax.vmap(both, in_axes=axes)(a, b)
    for k in range(4):
        one = (
            x if axis is None else jnp.take(x, k, axis)
            for x, axis in zip((a, b), axes, strict=True)
        )
        value, gradient = both(*one)
        np.testing.assert_allclose(values[k], value, rtol=1e-6)
        np.testing.assert_allclose(gradients[k], gradient, rtol=1e-6)


def test_devices_that_share_an_operand_or_a_residual_add_its_gradient_up():
    def gradients(a, b, scale):
        return jax.grad(lambda *at: jnp.sum(apply(*at)), (0, 1))(a, b, scale)

    a, scale = jnp.stack([A, B]), jnp.stack([SCALE, A])
    split, whole = PartitionSpec("data"), PartitionSpec()
    mesh = create_mesh(jax.devices()[:2])
    for of_scale, given in ((whole, SCALE[None]), (split, scale)):
        specs = {"in_specs": (split, whole, of_scale), "out_specs": (split, whole)}
        by_a, by_b = jax.jit(jax.shard_map(gradients, mesh=mesh, **specs))(a, B[None], given)
        each = jnp.broadcast_to(given, (2, 3))
        np.testing.assert_allclose(by_a, 10 * each)
        np.testing.assert_allclose(by_b, 20 * each.sum(0, keepdims=True))


def test_a_map_of_it_is_differentiated():
    stack = jnp.stack([A, B])
    gradient = jax.grad(lambda b: jax.vmap(apply, in_axes=(0, None))(stack, b).sum())(B)
    np.testing.assert_allclose(gradient, 2 * 20 * SCALE)
