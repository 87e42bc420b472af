"""A run with all of the recipe on, whose averaged parameters are evaluated and kept."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import gcnet_jax
from gcnet_jax.errors import InputError
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training import TrainingProgram, TrainState, read_rows
from gcnet_jax.training.optimizer import moving_average


def config_of(root, **optimizer):
    config = load_config(root / "configs" / "context_shapes" / "gcnet.py")
    config.model.backbone.base_channels = config.model.decode_head.channels = 8
    config.data.num_workers = 0
    config.training.batch_size, config.training.pictures = 8, 0
    config.evaluation.batch_size = 200
    config.optimizer.update(
        {
            "name": "adamw",
            "learning_rate": 0.002,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup_steps": 2,
            "decay_norms_and_biases": False,
            "clip_norm": 0.5,
            "ema_decay": 0.9,
            **optimizer,
        }
    )
    return config


# Steps -------------------------------------------------------------------------------------------


def three_steps(root, devices, *, fsdp=False):
    """The metrics and the states of three steps."""
    config = config_of(root)
    config.parallel.fsdp = fsdp
    config.model.decode_head.channels = 64  # enough to be spread over devices
    mesh = create_mesh(jax.devices()[:devices])
    program = TrainingProgram(segmentation, config, DatasetClasses.numbered(7), mesh)
    state, batch = program.initial_state(), program.random_batch()
    spread = [x for x in jax.tree.leaves(state.average) if not x.sharding.is_fully_replicated]
    assert bool(spread) == fsdp
    states, scalars = [jax.device_get(state)], []
    for _ in range(3):
        state, metrics = program.step(state, batch)
        states.append(jax.device_get(state))
        scalars.append([float(metrics[name]) for name in ("loss", "gradient_norm")])
    return scalars, states


@pytest.fixture(scope="module")
def on_one_device(root):
    return three_steps(root, 1)


def assert_close(actual, expected):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_each_step_averages_parameters_and_statistics_alike(on_one_device):
    _, states = on_one_device
    average = now = states[0].variables
    for count, state in enumerate(states[1:], start=1):
        now = {"params": state.params, "statistics": state.statistics}
        average = moving_average(average, now, 0.9, jnp.int32(count))
        assert_close(state.variables, average)
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, average, now))) > 1e-3


def test_eight_devices_with_the_state_spread_over_them_take_the_same_steps(root, on_one_device):
    scalars, states = three_steps(root, 8, fsdp=True)
    np.testing.assert_allclose(scalars, on_one_device[0], rtol=1e-4)
    # AdamW moves what has no gradient but rounding as far as all else: compared as a whole.
    for part in ("params", "statistics", "average"):
        a, b = getattr(states[-1], part), getattr(on_one_device[1][-1], part)
        difference = optax.tree.norm(jax.tree.map(np.subtract, a, b)) / optax.tree.norm(b)
        assert float(difference) < 1e-3, part


# Runs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(root, shapes_dir, tmp_path_factory):
    """A workdir with checkpoints of steps 2 and 4, and the run's config."""
    config = config_of(root)
    config.data.data_dir = str(shapes_dir)
    config.training.total_steps = config.training.evaluate_every = 4
    config.training.checkpoint_every = 2
    workdir = tmp_path_factory.mktemp("averaged")
    gcnet_jax.train(config, workdir)
    return workdir, config


def arrays(workdir, step):
    with ocp.StandardCheckpointer() as checkpointer:
        folder = workdir / "checkpoints" / str(step)
        return {name: checkpointer.restore(folder / name) for name in ("model", "training")}


def without_last(workdir, target):
    """A copy of a run as if it had been killed after step 2."""
    shutil.copytree(workdir, target)
    shutil.rmtree(target / "checkpoints" / "4")
    return target


def test_a_resumed_run_ends_with_the_same_bits(run, tmp_path):
    workdir, config = run
    resumed = without_last(workdir, tmp_path / "resumed")
    gcnet_jax.train(config, resumed)
    expected, actual = arrays(workdir, 4), arrays(resumed, 4)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_averages_are_what_is_loaded_and_what_was_evaluated(run):
    workdir, config = run
    saved = arrays(workdir, 4)
    model = gcnet_jax.load_model(config, workdir / "checkpoints" / "4")
    loaded = {"params": nnx.to_pure_dict(nnx.state(model, nnx.Param))}
    loaded["statistics"] = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    assert_close(loaded, saved["model"])
    raw = jax.tree.leaves(saved["training"]["params"])
    assert not all(map(np.array_equal, jax.tree.leaves(loaded["params"]), raw))
    (logged,) = (row for row in read_rows(workdir) if row["split"] == "val")
    assert gcnet_jax.evaluate(workdir).summary["mIoU"] == pytest.approx(logged["mIoU"], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ema_decay": 0.0}, "another optimizer .moving average: True -> False"),
        ({"name": "sgd"}, "another optimizer .name: adamw -> sgd"),
    ],
)
def test_a_run_is_not_resumed_under_a_recipe_with_another_state(run, tmp_path, change, says):
    workdir, config = run
    resumed = without_last(workdir, tmp_path / "resumed")
    config = config.copy_and_resolve_references()
    config.optimizer.update(change)
    with pytest.raises(InputError, match=says):
        gcnet_jax.train(config, resumed)
    assert (resumed / "checkpoints" / "2").exists()


def test_the_two_parts_of_a_state_are_all_of_it():
    for average in (None, {"params": 5, "statistics": 6}):
        state = TrainState(1, 2, 3, 4, 0, average)  # pyright: ignore[reportArgumentType]
        again = TrainState.of_parts(state.variables, state.remainder)
        assert dataclasses.asdict(again) == dataclasses.asdict(state)
