"""A step of training is the same however devices share the batch, and none needs others' images."""

import functools

import jax
import numpy as np
import optax
import pytest

from gcnet_jax.parallel import create_mesh, shard_batch
from gcnet_jax.tasks.detection import detector
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.loss import detection_loss
from gcnet_jax.training import create_state, create_train_step
from tests.collectives import read_collectives, summarize
from tests.tasks.detection.narrow_detector import CLASSES, narrow_config, with_drawn_weights
from tests.tasks.detection.training_batch import random_batch

IMAGES = 8


@functools.cache
def narrow_network(dtype, remat_stages):
    config = narrow_config(num_stages=1, remat_stages=remat_stages)
    config.backbone.context.stages = (0,)
    config.dtype = dtype
    return with_drawn_weights(build_model(config, num_classes=CLASSES))


@functools.cache
def first_step(devices, *, fsdp=False, accumulation_steps=1, dtype="float32", remat_stages=()):
    """Metrics and gradients of a step, and what devices have sent each other."""
    mesh = create_mesh(jax.devices()[:devices])
    optimizer = optax.sgd(1.0)
    model = narrow_network(dtype, remat_stages)
    graphdef, state = create_state(model, optimizer, mesh, seed=0, fsdp=fsdp)
    step = create_train_step(
        graphdef,
        detection_loss(),
        optimizer,
        mesh,
        schedule=lambda step: 1.0,
        accumulation_steps=accumulation_steps,
        state_shardings=jax.tree.map(lambda x: x.sharding, state),
    )
    before = jax.device_get(state.params)
    batch = shard_batch(random_batch(images=IMAGES), mesh)
    compiled = step.lower(state, batch).compile()
    state, metrics = compiled(state, batch)
    gradients = jax.tree.map(np.subtract, before, jax.device_get(state.params))
    return (
        {name: float(value) for name, value in metrics.items()},
        gradients,
        read_collectives(compiled.as_text()),
    )


def check_same(found, expected, *, tolerance=2e-5):
    assert found[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        assert found[0][name] == pytest.approx(value, rel=tolerance, abs=1e-6), name
    of_all = float(optax.tree.norm(expected[1]))
    for path, gradient in jax.tree.leaves_with_path(expected[1]):
        other = functools.reduce(lambda tree, key: tree[key.key], path, found[1])
        difference = float(np.linalg.norm(other - gradient))
        assert difference <= tolerance * (np.linalg.norm(gradient) + 1e-2 * of_all), path


@pytest.fixture(scope="module", autouse=True)
def smallest_program():
    """Regions of so small images lie in the finest map: the code for others is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "LEVELS_OF_REGIONS", 1)
        yield


def test_eight_devices_have_the_losses_and_gradients_of_one_and_send_no_more_than_these():
    """No map, region or mask. Of weights that all levels share, each level's gradient travels."""
    found = _, gradients, collectives = first_step(8)
    check_same(found, first_step(1))
    assert set(summarize(collectives)) == {"all-reduce"}
    sent = sum(collective.total_bytes for collective in collectives)
    assert sent <= 4 * sum(x.size for x in jax.tree.leaves(gradients)) * 1.5


@pytest.mark.campaign
@pytest.mark.parametrize(("devices", "fsdp"), [(8, True), (4, False), (2, False)])
def test_losses_and_gradients_are_those_of_one_device(devices, fsdp):
    check_same(first_step(devices, fsdp=fsdp), first_step(1))


@pytest.mark.campaign
def test_parts_of_a_batch_are_trained_with_alike_on_all_layouts():
    check_same(first_step(4, accumulation_steps=2), first_step(1, accumulation_steps=2))


@pytest.mark.campaign
def test_a_step_in_bfloat16_is_near_to_that_in_float32():
    """Which anchors and regions are sampled, rounding decides too: gradients agree as a whole."""
    found, expected = first_step(1, dtype="bfloat16"), first_step(1)
    for name in ("loss", "gradient_norm"):
        assert found[0][name] == pytest.approx(expected[0][name], rel=0.1)
    angle = sum(
        float(np.vdot(x, y))
        for x, y in zip(jax.tree.leaves(found[1]), jax.tree.leaves(expected[1]), strict=True)
    ) / float(optax.tree.norm(found[1]) * optax.tree.norm(expected[1]))
    assert angle > 0.95


@pytest.mark.campaign
def test_a_stage_that_is_computed_again_has_the_same_gradients():
    check_same(first_step(1, remat_stages=(0,)), first_step(1))
