"""A narrow segmentor and random batches, shared so that few programs are compiled."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.segmentation.build_model import build_model, model_config
from gcnet_jax.tasks.segmentation.loss import segmentation_loss
from gcnet_jax.training import TrainState, create_state, create_train_step


class Setup(NamedTuple):
    graphdef: nnx.GraphDef
    state: TrainState
    step: Any
    optimizer: optax.GradientTransformation


def random_batch(seed: int = 0, size: int = 8, height: int = 24) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.integers(0, 4, (size, height // 8, 4)), 8, axis=1).repeat(8, axis=2)
    image = 60 * label[..., None] + rng.integers(0, 40, (size, height, 32, 3))
    label[:, :3] = 255
    return {
        "image": image.astype(np.uint8),
        "label": label.astype(np.uint8),
        "size": np.tile(np.array([height, 32], np.int32), (size, 1)),
    }


def narrow_model() -> ConfigDict:
    config = model_config("gcnet_r18-d16")
    config.backbone.base_channels = 8
    config.backbone.num_stages = 2
    config.decode_head.stage = 1
    config.decode_head.channels = 16
    config.auxiliary_head.stage = 0
    config.auxiliary_head.channels = 8
    return config


def setup(
    mesh: Mesh | None = None,
    *,
    accumulation_steps: int = 1,
    dropout: float = 0.1,
    seed: int = 0,
    dtype: str = "float32",
    fsdp: bool = False,
    model_section: ConfigDict | None = None,
) -> Setup:
    config = model_section or narrow_model()
    config.dtype = dtype
    config.decode_head.dropout_rate = config.auxiliary_head.dropout_rate = dropout
    model = build_model(config, num_classes=4)
    optimizer = optax.sgd(0.05, momentum=0.9)
    mesh = mesh or create_mesh(jax.devices()[:1])
    graphdef, state = create_state(model, optimizer, mesh, seed=seed, fsdp=fsdp)
    step = create_train_step(
        graphdef,
        segmentation_loss(0.4),
        optimizer,
        mesh,
        schedule=lambda step: 0.05,
        accumulation_steps=accumulation_steps,
        state_shardings=jax.tree.map(lambda x: x.sharding, state),
    )
    return Setup(graphdef, state, step, optimizer)


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    return random_batch()


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., dict[str, np.ndarray]]:
    """`make_batch(seed, size, height)`: a random batch."""
    return random_batch


@pytest.fixture(scope="session")
def make_setup() -> Callable[..., Setup]:
    """`make_setup(mesh, ...)`: a narrow segmentor with its state and its step."""
    return setup
