"""Stages that are computed again for their gradients give what they give otherwise."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.errors import InputError
from gcnet_jax.models import ContextPlacement, ResNet
from gcnet_jax.nn import GlobalContext

IMAGES = jax.random.normal(jax.random.key(0), (2, 32, 48, 3))
PASSES = {"xla_disable_hlo_passes": "cse_barrier_expander"}  # as in training, see there


def network(depth, num_stages, remat_stages):
    rngs = nnx.Rngs(0)
    context = ContextPlacement(
        functools.partial(GlobalContext, ratio=1 / 4, rngs=rngs), "after_add", stages=(1,)
    )
    return ResNet(
        depth,
        num_stages=num_stages,
        base_channels=4,
        context=context,
        remat_stages=remat_stages,
        rngs=rngs,
    )


@functools.cache
def trained(depth, num_stages, remat_stages=()):
    """Loss, gradients and updated batch statistics of a step, and how often blocks are barred."""
    graphdef, params, statistics = nnx.split(
        network(depth, num_stages, remat_stages), nnx.Param, nnx.BatchStat
    )
    # Away from the start, where residuals and contexts are zero and so are gradients inside them.
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape), params)

    def loss(params, statistics, images):
        model = nnx.merge(graphdef, params, statistics, copy=True)
        return sum(jnp.mean(x**2) for x in model(images)), nnx.state(model, nnx.BatchStat)

    step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=PASSES)
    lowered = step.lower(params, statistics, IMAGES)
    (value, statistics), gradients = lowered.compile()(params, statistics, IMAGES)
    flat = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(nnx.to_pure_dict(tree))])
        for tree in (statistics, gradients)
    ]
    # Those of convolutions bar one array, those around a block all that it is computed from.
    barriers = len(re.findall(r"optimization_barrier %[\w#]+, %", lowered.as_text()))
    return np.asarray(value), *flat, barriers


@pytest.mark.parametrize(
    ("depth", "num_stages", "remat_stages", "blocks"),
    [
        (18, 4, (0,), 2),
        (18, 4, (1,), 2),
        (18, 4, (2,), 2),
        (18, 4, (3,), 2),
        (18, 4, (3, 0, 2, 1), 8),
        (50, 2, (0,), 3),
        (50, 2, (1,), 4),
        pytest.param(50, 2, (0, 1), 7, marks=pytest.mark.campaign),
    ],
)
def test_loss_statistics_and_gradients_are_those_without_remat(
    depth, num_stages, remat_stages, blocks
):
    """Where measured the first two were bitwise equal; what is computed again is fused otherwise.

    Averages that moved twice would be off by a tenth.
    """
    loss, statistics, gradients, _ = trained(depth, num_stages)
    *with_remat, barriers = trained(depth, num_stages, remat_stages)
    assert barriers == blocks
    np.testing.assert_allclose(with_remat[0], loss, rtol=1e-6)
    np.testing.assert_allclose(with_remat[1], statistics, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        with_remat[2], gradients, rtol=0, atol=1e-6 * np.abs(gradients).max()
    )


def test_evaluation_is_bitwise_that_without_remat_and_changes_no_statistics():
    mask = jnp.arange(48)[None, None, :] < jnp.array([48, 30])[:, None, None]
    mask = jnp.broadcast_to(mask, IMAGES.shape[:3])
    images = jnp.where(mask[..., None], IMAGES, 0)
    outputs, programs = [], []
    for remat_stages in ((), (0, 1)):
        model = network(50, 2, remat_stages)
        model.eval()
        graphdef, state = nnx.split(model)
        evaluate = jax.jit(lambda state, x, m, g=graphdef: nnx.merge(g, state)(x, m))
        outputs.append(evaluate(state, images, mask))
        programs.append(evaluate.lower(state, images, mask).as_text())
        model(images, mask)
        jax.tree.map(np.testing.assert_array_equal, nnx.split(model)[1], state)
    jax.tree.map(np.testing.assert_array_equal, *outputs)
    assert not any("optimization_barrier" in program for program in programs)


@pytest.mark.parametrize("stage", [-1, 2])
def test_a_stage_that_is_not_there_is_refused(stage):
    with pytest.raises(InputError, match=rf"remat_stages has a stage that is {stage}.*\(0, 1\)"):
        network(18, 2, (0, stage))
