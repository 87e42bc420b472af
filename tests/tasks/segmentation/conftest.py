"""A narrow network with its weights in every kind of place that they are loaded from."""

import numpy as np
import pytest

from gcnet_jax.interop import write_torch_checkpoint
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS
from gcnet_jax.tasks.segmentation.foreign_classes import classes_to_meta
from gcnet_jax.tasks.segmentation.weights import FOREIGN
from gcnet_jax.training.pretrained import save_model


@pytest.fixture(scope="session")
def narrow_config(shapes_dir):
    """Of context_shapes, two stages of 8 channels, images as they are."""
    config = default_config()
    config.data.name, config.data.data_dir = "context_shapes", str(shapes_dir)
    config.data.base_scale = (128, 64)
    config.model.backbone.depth, config.model.backbone.base_channels = 18, 8
    config.model.backbone.num_stages = 2
    config.model.decode_head.stage, config.model.auxiliary_head.stage = 1, 0
    config.model.decode_head.channels = config.model.auxiliary_head.channels = 8
    config.evaluation.batch_size = 40
    return config


@pytest.fixture(scope="session")
def classes():
    return DATA_SETS.meaning("context_shapes")


@pytest.fixture(scope="session")
def narrow_model(narrow_config, classes):
    return build_model(narrow_config.model, num_classes=classes.num_classes, seed=1)


@pytest.fixture(scope="session")
def workdir(narrow_model, narrow_config, classes, made_once):
    """A run's folder with one checkpoint."""
    return made_once(
        "narrow_run",
        lambda folder: save_model(
            folder / "checkpoints" / "3", narrow_model, narrow_config, classes
        ),
    )


@pytest.fixture(scope="session")
def pth(narrow_model, classes, made_once):
    """The same weights as a `.pth` file."""

    def write(folder):
        write_torch_checkpoint(
            folder / "narrow.pth", FOREIGN.export_state_dict(narrow_model), classes_to_meta(classes)
        )

    return made_once("narrow_pth", write) / "narrow.pth"


@pytest.fixture(scope="session")
def photo():
    """An RGB image of noise in patches, so that classes differ from place to place."""
    patches = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    return np.ascontiguousarray(patches.repeat(9, 0).repeat(9, 1)[:50, :77])
