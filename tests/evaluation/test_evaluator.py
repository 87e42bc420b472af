import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from gcnet_jax.config import default_config
from gcnet_jax.data import decode, evaluation_batches, open_split
from gcnet_jax.evaluation import create_evaluator, evaluator, metrics_from_confusion
from gcnet_jax.models import build_model, merge, model_config, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import create_mesh


@pytest.fixture(scope="module")
def model():
    config = model_config("gcnet_r18-d16")
    config.backbone.base_channels = 8
    config.backbone.num_stages = 1
    config.decode_head.stage = 0
    config.decode_head.channels = 8
    config.auxiliary_head.enabled = False
    return split_for_evaluation(build_model(config, num_classes=7, seed=3))


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 7), (4, 8)])
def test_every_image_of_the_split_counts_once(model, shapes_dir, devices, batch_size):
    """100 images in batches that leave a rest, against one image at a time in NumPy."""
    graphdef, variables = model
    mesh = create_mesh(jax.devices()[:devices])
    evaluate = create_evaluator(graphdef, 7, default_config().evaluation, mesh)
    data = ConfigDict({"name": "context_shapes", "data_dir": str(shapes_dir)})
    confusion = evaluate(variables, evaluation_batches(data, "val", batch_size=batch_size))

    expected = np.zeros((7, 7), int)
    apply = jax.jit(lambda v, x: merge(graphdef, v)(x))
    records = open_split("context_shapes", shapes_dir, "val")
    for i in range(len(records)):
        sample = decode(records[i])
        logits = apply(variables, normalize_images(sample["image"][None]))
        np.add.at(expected, (sample["label"], np.asarray(logits)[0].argmax(-1)), 1)
    # A tie between two classes may fall the other way in a batch.
    assert np.abs(confusion - expected).sum() <= 4
    assert confusion.sum() == expected.sum() == 100 * 64 * 128
    assert 0 < metrics_from_confusion(confusion).accuracy < 1


def test_counts_add_up_beyond_32_bits(model, monkeypatch):
    """Each batch is counted in 32 bits on the device; their sum on the host is in 64."""
    monkeypatch.setattr(
        evaluator,
        "confusion_matrix",
        lambda labels, predictions, n: jnp.full((n, n), 2_000_000_000, jnp.int32),
    )
    graphdef, variables = model
    evaluate = create_evaluator(
        graphdef, 7, default_config().evaluation, create_mesh(jax.devices()[:1])
    )
    batch = {
        "image": np.zeros((1, 8, 8, 3), np.uint8),
        "label": np.zeros((1, 8, 8), np.uint8),
        "size": np.full((1, 2), 8, np.int32),
    }
    confusion = evaluate(variables, [batch] * 3)
    np.testing.assert_array_equal(confusion, np.full((7, 7), 6_000_000_000))
