import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from gcnet_jax.config import CONTEXT_BLOCKS
from gcnet_jax.tasks.segmentation.build_model import build_model, model_config
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.training import create_optimizer, learning_rate_schedule
from gcnet_jax.training.optimizer import moving_average


@pytest.fixture
def config():
    return default_config().optimizer


def recipe(**values):
    config = default_config().optimizer
    config.update(values)
    return config


def rates(config, steps):
    return np.asarray(jax.jit(jax.vmap(learning_rate_schedule(config, steps)))(jnp.arange(steps)))


# The learning rate -------------------------------------------------------------------------------


def poly_by_recursion(steps, base=0.01, final=1e-4, power=0.9):
    """The recursion of mmengine's PolyLR: each value is made from the one before it."""
    total, values = steps - 1, [base]
    for step in range(1, total + 1):
        factor = (1 - 1 / (total - step + 1)) ** power
        values.append((values[-1] - final) * factor + final)
    return np.array(values)


def test_the_schedule_is_polylr_and_ends_at_the_final_rate(config):
    schedule = learning_rate_schedule(config, 1000)
    values = np.array([schedule(jnp.asarray(step)) for step in range(0, 1000, 37)])
    np.testing.assert_allclose(values, poly_by_recursion(1000)[::37], atol=1e-9)
    np.testing.assert_allclose(schedule(999), 1e-4, atol=1e-9)


def test_compiled_rates_are_finite_and_end_at_the_final_rate_for_any_length(config):
    """1 - 499 * (1 / 499) is negative in float32, and a power of it would be NaN."""
    for steps in (2, 50, 500, 983, 1600, 40_000):
        schedule = jax.jit(learning_rate_schedule(config, steps))
        assert float(schedule(steps - 1)) == pytest.approx(1e-4, abs=1e-9), steps
        assert np.isfinite(float(schedule(steps + 5)))


def test_a_run_of_one_step_has_a_schedule(config):
    assert float(learning_rate_schedule(config, 1)(0)) == pytest.approx(0.01)


def warmed_up(step, warmup, ratio):
    """The factor of a linear warm-up, whose last step has the whole rate."""
    return ratio + (1 - ratio) * min(step / (warmup - 1), 1)


STEPS_RECIPE = {
    "schedule": "steps",
    "learning_rate": 0.02,
    "milestones": (16, 22),
    "warmup_steps": 8,
    "warmup_ratio": 0.001,
}


def test_steps_fall_at_their_milestones_after_linear_warmup():
    expected = [
        0.02 * warmed_up(step, 8, 0.001) * 0.1 ** ((step >= 16) + (step >= 22))
        for step in range(24)
    ]
    np.testing.assert_allclose(rates(recipe(**STEPS_RECIPE), 24), expected, atol=2e-9)


def test_cosine_falls_to_the_final_rate_after_linear_warmup():
    config = recipe(schedule="cosine", warmup_steps=5, warmup_ratio=0.1, final_learning_rate=1e-3)
    falling = [
        1e-3 + (0.01 - 1e-3) * (1 + math.cos(math.pi * (step - 5) / 24)) / 2
        for step in range(5, 30)
    ]
    rising = [0.01 * warmed_up(step, 5, 0.1) for step in range(5)]
    np.testing.assert_allclose(rates(config, 30), rising + falling, rtol=1e-5)


def test_poly_begins_behind_the_warmup():
    config = recipe(warmup_steps=10, warmup_ratio=0.0)
    rising = [0.01 * warmed_up(step, 10, 0.0) for step in range(10)]
    expected = np.concatenate([rising, poly_by_recursion(40)])
    np.testing.assert_allclose(rates(config, 50), expected, atol=1e-8)


def test_a_warmup_of_one_step_and_one_of_all_but_one_end_at_the_whole_rate():
    for schedule, (warmup, steps) in itertools.product(("poly", "cosine"), ((1, 3), (2, 3))):
        values = rates(recipe(schedule=schedule, warmup_steps=warmup, warmup_ratio=0.5), steps)
        np.testing.assert_allclose(values[[0, warmup]], [0.005, 0.01], rtol=1e-6)


def test_schedules_are_those_of_torch():
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler

    def by_torch(make, steps, rate):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
        scheduler, values = make(optimizer), []
        for _ in range(steps):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return values

    def warmup_and_steps(optimizer):
        return schedulers.ChainedScheduler(
            [
                schedulers.LinearLR(optimizer, start_factor=0.001, total_iters=7),
                schedulers.MultiStepLR(optimizer, [16, 22], gamma=0.1),
            ]
        )

    np.testing.assert_allclose(
        rates(recipe(**STEPS_RECIPE), 24), by_torch(warmup_and_steps, 24, 0.02), atol=2e-9
    )

    def cosine(optimizer):
        return schedulers.CosineAnnealingLR(optimizer, T_max=29, eta_min=1e-4)

    np.testing.assert_allclose(
        rates(recipe(schedule="cosine"), 30), by_torch(cosine, 30, 0.01), rtol=1e-5
    )


# Updates -----------------------------------------------------------------------------------------


def random_case(steps=5):
    """Parameters, and a gradient for each step."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (3, 2), "bias": (2,)}
    params, *gradients = (
        {k: rng.standard_normal(shape).astype(np.float32) for k, shape in shapes.items()}
        for _ in range(steps + 1)
    )
    return params, gradients


def updated(optimizer, params, gradients):
    """The parameters and the state after all steps."""
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def test_the_default_recipe_is_bitwise_that_of_earlier_versions_in_values_and_state(config):
    """Whose checkpoints are resumed."""
    earlier = optax.chain(
        optax.add_decayed_weights(5e-4),
        optax.sgd(learning_rate_schedule(config, 5), momentum=0.9),
    )
    expected, actual = (updated(o, *random_case()) for o in (earlier, create_optimizer(config, 5)))
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_structure_of_the_state_depends_on_the_kind_of_optimizer_alone(name):
    params, _ = random_case()
    changes = [
        {},
        {"clip_norm": 1.0, "decay_norms_and_biases": False, "schedule": "cosine"},
        {"weight_decay": 0.0, "momentum": 0.0, "warmup_steps": 3, "ema_decay": 0.9},
    ]
    states = [create_optimizer(recipe(name=name, **c), 9).init(params) for c in changes]
    assert len({jax.tree.structure(state) for state in states}) == 1


@pytest.mark.parametrize("decays_all", [True, False])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_updates_are_those_of_torch(name, decays_all):
    torch = pytest.importorskip("torch")
    config = recipe(
        name=name,
        weight_decay=0.05,
        betas=(0.8, 0.95),
        clip_norm=2.0,
        decay_norms_and_biases=decays_all,
        **STEPS_RECIPE | {"milestones": (2,), "warmup_steps": 0},
    )
    params, gradients = random_case()
    tensors = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in params.items()}
    groups = [
        {"params": [tensors["kernel"]], "weight_decay": 0.05},
        {"params": [tensors["bias"]], "weight_decay": 0.05 if decays_all else 0.0},
    ]
    optimizer = {
        "sgd": lambda: torch.optim.SGD(groups, lr=0.02, momentum=0.9),
        "adamw": lambda: torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.95)),
    }[name]()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2], gamma=0.1)
    for gradient in gradients:
        for k, tensor in tensors.items():
            tensor.grad = torch.tensor(gradient[k])
        torch.nn.utils.clip_grad_norm_(tensors.values(), 2.0)
        optimizer.step()
        scheduler.step()

    actual, _ = updated(create_optimizer(config, 5), params, gradients)
    for k, tensor in tensors.items():
        np.testing.assert_allclose(actual[k], tensor.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_gradients_are_cut_to_the_norm_of_all_together_and_shorter_ones_left():
    config = recipe(clip_norm=1.0, weight_decay=0.0, momentum=0.0, final_learning_rate=0.01)
    optimizer, params = create_optimizer(config, 5), {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    for gradient, factor in (([3.0, 0.0, 4.0], 1 / 5), ([0.3, 0.0, 0.4], 1.0)):
        gradient = {"a": jnp.array(gradient[:2]), "b": jnp.array(gradient[2:])}
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        for k, value in updates.items():
            np.testing.assert_allclose(value, -0.01 * factor * gradient[k], rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("block", CONTEXT_BLOCKS)
def test_without_norms_and_biases_exactly_the_kernels_of_a_network_decay(name, block):
    section = model_config("gcnet_r18-d16")
    section.backbone.num_stages, section.decode_head.stage, section.auxiliary_head.stage = 1, 0, 0
    section.backbone.base_channels = section.decode_head.channels = 8
    section.decode_head.context.block = block
    section.auxiliary_head.channels = 8
    model = nnx.eval_shape(lambda: build_model(section, num_classes=3))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    params = jax.tree.map(lambda x: np.ones(x.shape, np.float32), params)
    config = recipe(name=name, weight_decay=0.5, decay_norms_and_biases=False)
    optimizer = create_optimizer(config, 5)
    zeros = jax.tree.map(np.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    names = {"decay": set(), "stay": set()}
    for path, update in jax.tree.leaves_with_path(updates):
        names["decay" if np.any(update) else "stay"].add(path[-1].key)
    assert names == {"decay": {"kernel"}, "stay": {"bias", "scale"}}


def test_updates_are_those_of_sgd_with_decay_before_momentum(config):
    steps, rates = 5, poly_by_recursion(5)
    rng = np.random.default_rng(0)
    params = {"kernel": rng.standard_normal((3, 2)), "bias": rng.standard_normal(2)}
    gradients = [{k: rng.standard_normal(v.shape) for k, v in params.items()} for _ in range(steps)]

    expected = {k: v.copy() for k, v in params.items()}
    velocity = {k: np.zeros_like(v) for k, v in params.items()}
    for rate, gradient in zip(rates, gradients, strict=True):
        for k in params:
            velocity[k] = 0.9 * velocity[k] + gradient[k] + 5e-4 * expected[k]
            expected[k] = expected[k] - rate * velocity[k]

    optimizer = create_optimizer(config, steps)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    for k, value in params.items():
        np.testing.assert_allclose(value, expected[k], rtol=1e-5)


# Averages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.5, 0.99, 0.9999])
def test_the_average_weighs_each_step_by_its_age_and_forgets_where_it_started(decay):
    values = np.random.default_rng(0).standard_normal((30, 4))
    average = {"x": jnp.full(4, 1e3)}
    for count, value in enumerate(values, start=1):
        average = moving_average(average, {"x": jnp.asarray(value)}, decay, jnp.int32(count))
        weights = decay ** np.arange(count - 1, -1, -1.0)
        expected = (weights[:, None] * values[:count]).sum(0) / weights.sum()
        np.testing.assert_allclose(
            average["x"], expected, rtol=1e-3, atol=2e-3 if count == 1 else 3e-4
        )


def test_the_average_is_that_of_optax():
    ema = optax.ema(0.9, debias=True)
    average = jnp.zeros(3)
    state = ema.init(average)
    for count in range(1, 8):
        value = jnp.sin(count * jnp.arange(3.0))
        average = moving_average(average, value, 0.9, jnp.int32(count))
        expected, state = ema.update(value, state)
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)
