import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import create_mesh, replicated, rows_here, shard_batch
from gcnet_jax.tasks.segmentation.build_model import build_model, model_config
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, evaluation_batches
from gcnet_jax.tasks.segmentation.evaluation import (
    NetworkInference,
    PixelCounter,
    confusion_of,
    evaluator,
    metrics_from_confusion,
)
from gcnet_jax.tasks.segmentation.evaluation.evaluator import confusion_matrix
from gcnet_jax.training import count_batches


@pytest.fixture(scope="module")
def model():
    config = model_config("gcnet_r18-d16")
    config.backbone.base_channels = 8
    config.backbone.num_stages = 1
    config.decode_head.stage = 0
    config.decode_head.channels = 8
    config.auxiliary_head.enabled = False
    return split_for_evaluation(build_model(config, num_classes=7, seed=3))


def run_config(data_dir, batch_size):
    config = default_config()
    config.data.name, config.data.data_dir = "context_shapes", str(data_dir)
    config.data.base_scale = (128, 64)
    config.evaluation.batch_size = batch_size
    return config


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 7), (4, 8)])
def test_every_image_of_the_split_counts_once(model, shapes_dir, devices, batch_size):
    """100 images in batches that leave a rest, against one image at a time in NumPy."""
    graphdef, variables = model
    mesh = create_mesh(jax.devices()[:devices])
    config = run_config(shapes_dir, batch_size)
    counter = PixelCounter(graphdef, 7, config.evaluation, mesh)
    confusion = confusion_of(count_batches(counter, variables, evaluation_batches(config, "val")))

    expected = np.zeros((7, 7), int)
    apply = jax.jit(lambda v, x: merge(graphdef, v)(x))
    records = DATA_SETS.open_split("context_shapes", shapes_dir, "val")
    for i in range(len(records)):
        sample = decode(records[i])
        logits = apply(variables, normalize_images(sample["image"][None]))
        np.add.at(expected, (sample["label"], np.asarray(logits)[0].argmax(-1)), 1)
    # A tie between two classes may fall the other way in a batch.
    assert np.abs(confusion - expected).sum() <= 4
    assert confusion.sum() == expected.sum() == 100 * 64 * 128
    assert 0 < metrics_from_confusion(confusion).accuracy < 1


def batch_of(sizes, bucket, seed=0):
    """Random images and labels of several sizes; (0, 0) fills the batch up."""
    rng = np.random.default_rng(seed)
    batch = {
        "image": np.zeros((len(sizes), *bucket, 3), np.uint8),
        "label": np.full((len(sizes), *bucket), 255, np.uint8),
        "size": np.array(sizes, np.int32),
    }
    for i, (height, width) in enumerate(sizes):
        batch["image"][i, :height, :width] = rng.integers(0, 256, (height, width, 3))
        batch["label"][i, :height, :width] = rng.integers(0, 7, (height, width))
    scaled = [{"image": batch["image"], "size": batch["size"]}]
    return {
        "scaled": scaled,
        "label": batch["label"],
        "label_size": batch["size"],
        "index": np.arange(len(sizes), dtype=np.int32),
    }


@pytest.mark.parametrize(
    ("devices", "spatial", "mode", "mirrored_too"),
    [
        (4, 1, "whole", True),
        (8, 2, "slide", False),
        (8, 8, "whole", True),
        pytest.param(8, 8, "slide", True, marks=pytest.mark.slow),
        pytest.param(4, 1, "slide", True, marks=pytest.mark.campaign),
        pytest.param(8, 2, "whole", False, marks=pytest.mark.campaign),
    ],
)
def test_devices_share_batches_of_several_sizes_without_changing_a_count(
    model, devices, spatial, mode, mirrored_too
):
    """Batches split over devices, and images too, against all on one device."""
    graphdef, variables = model
    sizes = [(32, 40), (17, 31), (24, 9), (0, 0)]
    config = default_config().evaluation
    config.mode, config.window, config.window_stride = mode, (16, 16), (9, 9)
    counts, predicted = [], []

    def look(batch, of_batch):
        predicted.append([rows_here(array) for array in of_batch])

    for mesh in (
        create_mesh(jax.devices()[:1]),
        create_mesh(jax.devices()[:devices], spatial=spatial),
    ):
        counter = PixelCounter(graphdef, 7, config, mesh, mirrored_too=mirrored_too)
        batches = [batch_of(sizes, (32, 40))] * 2
        counts.append(confusion_of(count_batches(counter, variables, batches, look=look)))
    assert counts[0].sum() == 2 * sum(height * width for height, width in sizes)
    assert np.abs(counts[0] - counts[1]).sum() <= 4
    # And what is predicted comes out for those who look.
    labels = batch_of(sizes, (32, 40))["label"]
    for counted, seen in zip(counts, (predicted[:2], predicted[2:]), strict=True):
        expected = sum(confusion_matrix(labels, predictions, 7) for predictions, _ in seen)
        np.testing.assert_array_equal(counted, expected)
        for predictions, areas in seen:
            of_images = [
                confusion_matrix(*pair, 7) for pair in zip(labels, predictions, strict=True)
            ]
            expected = [[np.diag(matrix), matrix.sum(1), matrix.sum(0)] for matrix in of_images]
            np.testing.assert_array_equal(areas, expected)


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_devices_run_the_network_on_their_images_without_exchanging_anything(model, mode):
    graphdef, variables = model
    mesh, config = create_mesh(jax.devices()[:4]), default_config().evaluation
    config.mode, config.window, config.window_stride = mode, (16, 16), (9, 9)
    inference = NetworkInference(graphdef, config, mirrored_too=True, mesh=mesh)
    variables = jax.device_put(variables, replicated(mesh))
    batch = shard_batch(
        batch_of([(24, 40), (17, 31), (24, 9), (0, 0)], (24, 40)), mesh, ("image", "label")
    )
    images = batch["scaled"][0]
    lowered = inference.decode_pass.lower(variables, images["image"], images["size"])
    program = lowered.compile().as_text()
    assert "convolution" in program
    collectives = ("all-gather", "all-reduce", "all-to-all", "collective-permute")
    assert not [
        name for name in collectives if f"{name}(" in program or f"{name}-start(" in program
    ]


def test_counts_add_up_beyond_32_bits(model, monkeypatch):
    """Each batch is counted in 32 bits on the device, their sum there in twice as many."""
    monkeypatch.setattr(
        evaluator,
        "confusion_matrix",
        lambda labels, predictions, n: jnp.full((n, n), 2_000_000_000, jnp.int32),
    )
    graphdef, variables = model
    config, mesh = default_config().evaluation, create_mesh(jax.devices()[:1])
    counter = PixelCounter(graphdef, 7, config, mesh)
    batches = [batch_of([(8, 8)], (8, 8))] * 5
    confusion = confusion_of(count_batches(counter, variables, batches))
    np.testing.assert_array_equal(confusion, np.full((7, 7), 10_000_000_000))
