"""Backbones of which a part stays as it is, whatever mode they are in."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.errors import InputError
from gcnet_jax.models import ContextPlacement, ResNet, frozen_parameters
from gcnet_jax.nn import GlobalContext

IMAGES = jax.random.normal(jax.random.key(0), (2, 24, 32, 3))


def network(**options):
    rngs = nnx.Rngs(0)
    context = ContextPlacement(
        functools.partial(GlobalContext, ratio=1.0, rngs=rngs), "after_add", stages=(0, 1)
    )
    options = {"num_stages": 2, "base_channels": 4, "context": context, **options}
    model = ResNet(18, rngs=rngs, **options)
    # Away from the start, where residuals are zero and so are gradients inside them.
    for _, parameter in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        parameter.set_value(parameter + 0.1 * jax.random.normal(jax.random.key(1), parameter.shape))
    return model


def by_path(state):
    return {".".join(map(str, path)): np.asarray(x[...]) for path, x in nnx.to_flat_state(state)}


@functools.cache
def trained(frozen_stages, norm_eval):
    """What a step of training does to a network: gradients, by the images too, and statistics."""
    model = network(frozen_stages=frozen_stages, norm_eval=norm_eval)
    model.train()
    graphdef, params, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)

    @jax.jit
    def gradients(params, statistics, images):
        def loss(params, images):
            model = nnx.merge(graphdef, params, statistics, copy=True)
            return sum(jnp.mean(x**2) for x in model(images)), nnx.state(model, nnx.BatchStat)

        return jax.grad(loss, (0, 1), has_aux=True)(params, images)

    (of_params, of_images), after = gradients(params, statistics, IMAGES)
    moved = {
        path.rpartition(".")[0]
        for path, array in by_path(after).items()
        if not np.array_equal(array, by_path(statistics)[path])
    }
    return by_path(of_params), np.asarray(of_images), moved, frozen_parameters(model)


@pytest.mark.parametrize(
    ("frozen_stages", "frozen", "trained_norms"),
    # The stem has three, the first stage four, the second, with a shortcut's, five.
    [(0, ("stem.",), 9), (1, ("stem.", "stages.0."), 5)],
)
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(
    frozen_stages, frozen, trained_norms
):
    gradients, of_images, moved, named = trained(frozen_stages, False)
    expected = {path for path in gradients if path.startswith(frozen)}
    assert named == expected
    without = {path for path, gradient in gradients.items() if not np.any(gradient)}
    # The softmax does not see the bias of a context block's scores: rounding alone is left of it.
    assert expected <= without <= expected | {path for path in gradients if "score.bias" in path}
    assert len(moved) == trained_norms
    assert not any(path.startswith(frozen) for path in moved)
    assert np.any(of_images)


def test_norm_eval_keeps_all_statistics_and_trains_scales():
    gradients, _, moved, named = trained(-1, True)
    assert not moved
    assert not named
    scales = [gradient for path, gradient in gradients.items() if path.endswith("norm.scale")]
    assert all(map(np.any, scales))


def test_frozen_parts_compute_in_training_as_in_evaluation():
    model = network(frozen_stages=2)
    model.eval()
    expected = model(IMAGES)
    model.train()
    for x, y in zip(model(IMAGES), expected, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frozen_stages": 3}, r"frozen_stages is 3; expected one of \(-1, 0, 1, 2\)"),
        ({"groups": 2}, r"groups is 2.*ResNet-18 has no bottlenecks"),
        ({"deformable_stages": (1,)}, r"deformable_stages \(1,\).*ResNet-18 has no bottlenecks"),
        ({"deformable_stages": (2,)}, r"deformable_stages has a stage that is 2"),
    ],
)
def test_what_a_network_cannot_have_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        network(**options)
