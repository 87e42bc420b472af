"""What a config may hold can be worked with: steps, evaluation and augmentation of any values."""

import cv2
import jax
import numpy as np
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.config.ranges import Flag, NamedOrCode, Number, OneOf, Several, Text, Whole
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.configs import check_config
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import scaled_sizes
from gcnet_jax.tasks.segmentation.data.training_batches import RandomTransform
from gcnet_jax.tasks.segmentation.evaluation import inference_mode
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training import (
    create_optimizer,
    create_train_step,
    initial_state,
    learning_rate_schedule,
)
from tests.config.changed import LEAVES, refusal, with_values


def in_range(given):
    """Values of a range, small ones where it is wide, its ends among them."""
    match given:
        case Whole():
            return st.integers(given.least, min(given.most, max(given.least, 0) + 12))
        case Number():
            ends = [x for x in (given.least, given.most) if given.holds(x)]
            wide = st.floats(given.least, min(given.most, 3.0)).filter(given.holds)
            return st.sampled_from(ends) | wide if ends else wide
        case OneOf():
            return st.sampled_from(given.allowed)
        case Flag():
            return st.booleans()
        case NamedOrCode():
            return st.sampled_from([*given.names, ""])
        case Text():
            return st.just("")
        case Several():
            most = min(given.most, given.least + 2)
            return st.lists(in_range(given.of), min_size=given.least, max_size=most).map(tuple)
    raise AssertionError(given)


def accepted(prefixes, base):
    """Configs that `check_config` takes, with some keys of some sections drawn from their range."""
    chosen = {k: in_range(leaf.range) for k, leaf in LEAVES.items() if k.startswith(prefixes)}

    drawn = st.fixed_dictionaries({}, optional=chosen)
    configs = drawn.map(lambda values: with_values(base | values))
    return configs.filter(lambda config: refusal(check_config, config) is None)


OF_A_STEP = (
    "model.",
    "optimizer.",
    "data.crop_size",
    "training.accumulation_steps",
    "training.auxiliary_loss_weight",
    "training.batch_size",
    "loss.cross_entropy_weight",
    "loss.avg_non_ignore",
    "loss.hard_pixels",
    "loss.dice",
    "loss.focal",
)
NARROW = {
    "data.crop_size": (33, 40),
    "model.backbone.depth": 18,
    "model.backbone.num_stages": 1,
    "model.backbone.base_channels": 4,
    "model.decode_head.stage": 0,
    "model.decode_head.channels": 4,
    "model.auxiliary_head.stage": 0,
    "model.auxiliary_head.channels": 4,
}


NARROW_MODEL = with_values(NARROW)


@settings(max_examples=6)
@given(accepted(OF_A_STEP, NARROW))
def test_an_accepted_config_makes_a_training_step_or_names_what_the_network_cannot_have(config):
    def build():
        return nnx.eval_shape(lambda: build_model(config.model, num_classes=3))

    if message := refusal(build):  # such as for a ratio that leaves no channels
        assert message.startswith("model.")
        return
    model = build()
    training, mesh = config.training, create_mesh(jax.devices()[:1])
    optimizer = create_optimizer(config.optimizer, training.total_steps)
    graphdef, variables = nnx.split(model)
    structure = None

    def state_of(variables):
        nonlocal structure
        structure, state = initial_state(
            nnx.merge(graphdef, variables),
            optimizer,
            seed=0,
            averages=config.optimizer.ema_decay > 0,
        )
        return state

    state = jax.eval_shape(state_of, variables)
    step = create_train_step(
        structure,
        segmentation.loss(config),
        optimizer,
        mesh,
        schedule=learning_rate_schedule(config.optimizer, training.total_steps),
        accumulation_steps=training.accumulation_steps,
        ema_decay=config.optimizer.ema_decay,
    )
    images = (training.batch_size, *config.data.crop_size)
    batch = {
        "image": jax.ShapeDtypeStruct((*images, 3), np.uint8),
        "label": jax.ShapeDtypeStruct(images, np.uint8),
        "size": jax.ShapeDtypeStruct((training.batch_size, 2), np.int32),
    }
    if message := refusal(jax.eval_shape, step, state, batch):  # keys of less than two positions
        assert "sub_sample needs 2 or more" in message


@settings(max_examples=10)
@given(accepted(("evaluation.",), NARROW))
def test_accepted_evaluation_gives_logits_of_images_smaller_and_larger_than_its_windows(config):
    model = nnx.eval_shape(lambda: build_model(NARROW_MODEL.model, num_classes=3))
    graphdef, variables = split_for_evaluation(model)
    mode = inference_mode(config.evaluation)

    def decode(variables, images, sizes):
        return mode.decode(merge(graphdef, variables), images, sizes)

    images = jax.ShapeDtypeStruct((2, 9, 14, 3), np.float32)
    logits = jax.eval_shape(decode, variables, images, jax.ShapeDtypeStruct((2, 2), np.int32))
    assert logits.shape[0] == 2
    assert logits.shape[-1] == 3
    for multi_scale in (False, True):
        sizes = scaled_sizes((3, 400), config, multi_scale=multi_scale)
        assert len(sizes) == (len(config.evaluation.scales) if multi_scale else 1)
        assert all(min(size) >= 1 for size in sizes)


@settings(max_examples=100)
@given(accepted(("data.",), {"data.base_scale": (16, 12)}), st.integers(0, 99))
def test_accepted_augmentation_makes_samples_of_the_crops_size(config, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (9, 14, 3), np.uint8)
    record = {
        "name": b"one",
        "image": cv2.imencode(".png", pixels)[1].tobytes(),
        "label": cv2.imencode(".png", pixels[..., 0] % 4)[1].tobytes(),
    }
    sample = RandomTransform.from_config(config.data)(record, rng)
    assert sample["image"].shape == (*config.data.crop_size, 3)
    assert sample["label"].shape == config.data.crop_size
