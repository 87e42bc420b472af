"""Whole networks are differentiated in both modes, twice, and example by example."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gcnet_jax.models import functional
from gcnet_jax.tasks.segmentation.build_model import build_model, model_config

IMAGES = jax.random.normal(jax.random.key(0), (2, 16, 24, 3))


def network():
    config = model_config("gcnet_r18-d8")
    config.backbone.base_channels = config.auxiliary_head.channels = 4
    config.decode_head.channels = 8
    config.backbone.num_stages = 1
    config.backbone.remat_stages = (0,)
    config.decode_head.stage = config.auxiliary_head.stage = 0
    return build_model(config, num_classes=3)


def moved(tree):
    """Away from the start, where residuals and contexts are zero and so are gradients in them."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32), tree)


def test_both_modes_give_the_same_slope_and_curvature_of_a_segmentor_in_training():
    model = network()
    model.train()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        model = nnx.merge(graphdef, params, rest, copy=True)
        rngs = nnx.Rngs(dropout=jax.random.key(0))
        return sum(jnp.mean(jnp.sin(logits)) for logits in model.head_logits(IMAGES, rngs=rngs))

    at, direction = moved(params), moved(jax.tree.map(jnp.zeros_like, params))

    def along(function):
        """Values and derivatives along the direction, in forward mode."""
        return lambda params: jax.jvp(function, (params,), (direction,))

    @jax.jit
    def derivatives(params):
        _, forward = along(along(loss))(params)
        gradient, product = along(jax.grad(loss))(params)
        return forward, [
            sum(jax.tree.leaves(jax.tree.map(jnp.vdot, of, direction)))
            for of in (gradient, product)
        ]

    for forward, reverse in zip(*derivatives(at), strict=True):
        np.testing.assert_allclose(forward, reverse, rtol=1e-4)


def test_gradients_of_examples_are_those_of_each_alone():
    apply, variables = functional(network())
    at = moved(variables["params"])

    @jax.grad
    def gradient(params, image):
        return jnp.mean(jnp.sin(apply({**variables, "params": params}, image)))

    mapped = jax.jit(jax.vmap(gradient, (None, 0)))(at, IMAGES[:, None])
    alone = [jax.jit(gradient)(at, image[None]) for image in IMAGES]
    assert_near(mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone))


def assert_near(actual, expected):
    """As near as rounding, beside the largest number of all."""
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    assert largest > 0
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * largest),
        actual,
        expected,
    )
