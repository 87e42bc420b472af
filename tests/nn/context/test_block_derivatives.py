"""Context blocks are differentiated in forward and in reverse mode, once and twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.models import CONTEXT_BLOCKS
from gcnet_jax.nn import GlobalContext, NonLocal, SimplifiedNonLocal, SqueezeExcite
from gcnet_jax.nn.context import modelling

CHANNELS = 4
BLOCKS = {
    "global_context": (GlobalContext, {"ratio": 1 / 2, "fusion": "both"}),
    "simplified_non_local": (SimplifiedNonLocal, {}),
    "squeeze_excite": (SqueezeExcite, {"ratio": 1 / 2}),
    "non_local, embedded_gaussian": (NonLocal, {"sub_sample": True}),
    "non_local, gaussian": (NonLocal, {"mode": "gaussian"}),
    "non_local, dot_product": (NonLocal, {"mode": "dot_product"}),
    "non_local, concatenation": (NonLocal, {"mode": "concatenation"}),
}


def test_every_block_of_the_library_is_differentiated():
    assert {block_class for block_class, _ in BLOCKS.values()} == set(CONTEXT_BLOCKS.values())


def case(name):
    """A loss of a block's parameters and features, a place to differentiate it, and a direction."""
    block_class, options = BLOCKS[name]
    graphdef, params = nnx.split(block_class(CHANNELS, **options, rngs=nnx.Rngs(0)))

    def loss(of):
        params, features = of
        return jnp.mean(jnp.sin(nnx.merge(graphdef, params)(features)))

    rng = np.random.default_rng(0)
    at, direction = (
        jax.tree.map(
            lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32),
            (params, np.zeros((2, 2, 3, CHANNELS))),
        )
        for _ in range(2)
    )
    return loss, at, direction


@pytest.mark.parametrize("name", BLOCKS)
def test_both_modes_give_the_same_slope_and_curvature(name, monkeypatch):
    monkeypatch.setattr(modelling, "QUERIES_AT_ONCE", 4)  # of six: in a loop, and computed again
    loss, at, direction = case(name)
    gradient = jax.grad(loss)

    def slope(of):
        return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient(of), direction)))

    @jax.jit
    def derivatives(of):
        value_and_curvature = jax.jvp(gradient, (of,), (direction,))
        forward = jax.jvp(loss, (of,), (direction,))[1], value_and_curvature[1]
        return forward, jax.value_and_grad(slope)(of)

    for actual, expected in zip(*derivatives(at), strict=True):
        assert_near(actual, expected)


def test_the_hessian_of_a_block_is_that_of_reverse_mode_alone():
    loss, (params, features), _ = case("global_context")

    def of_pixel(pixel):
        return loss((params, jnp.asarray(features).at[0, 0, 0].set(pixel)))

    hessian = jax.jit(jax.hessian(of_pixel))(features[0, 0, 0])
    assert_near(hessian, jax.jit(jax.jacrev(jax.grad(of_pixel)))(features[0, 0, 0]))
    assert_near(hessian, hessian.T)


def assert_near(actual, expected):
    """As near as rounding, beside the largest number of all."""
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    assert largest > 0
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * largest),
        actual,
        expected,
    )
