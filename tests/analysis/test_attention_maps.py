"""Attention maps of trained networks: of each task, and where they lie in the image."""

import dataclasses

import jax
import numpy as np
import pytest

from gcnet_jax.analysis import AttentionMaps, context_blocks
from gcnet_jax.errors import InputError
from gcnet_jax.ops import normalize_images
from gcnet_jax.task import at_top_left
from gcnet_jax.tasks import task_of
from gcnet_jax.tasks.configs import load_config, read_config
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.config import default_config
from tests.tasks.detection.narrow_detector import CLASSES, narrow_config, with_drawn_weights


def narrow(root, variant):
    config = read_config(root / "configs" / "ablation" / "context_shapes.py", variant)
    config.model.backbone.base_channels = 8
    config.model.decode_head.channels = 16
    config.data.base_scale = (96, 64)
    return config


def maps_of(config):
    task = task_of(config)
    model = task.build_model(config, task.meaning_of_data(config))
    return AttentionMaps(model, task.attention, config), model


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_the_map_of_a_global_context_block_is_the_segmentors_attention(root):
    maps, model = maps_of(narrow(root, "gc"))
    assert maps.blocks == {"decode_head.context": False}
    pixels = image(64, 96)  # which the network sees as it is
    found = maps(pixels, "decode_head.context")
    images = normalize_images(pixels[None])
    expected = jax.jit(lambda x: model.decode_head.attention(model.backbone(x)[0]))(images)
    assert found.weights.shape == expected.shape[1:]
    np.testing.assert_allclose(found.weights, expected[0], rtol=1e-4, atol=1e-7)
    assert found.weights.sum() == pytest.approx(1, abs=1e-5)
    assert (found.window, found.of_query) == ((0, 0, 1, 1), False)


def test_what_a_segmentor_sees_in_windows_has_no_map(root):
    config = narrow(root, "gc")
    config.evaluation.mode, config.evaluation.window = "slide", (48, 96)
    seen = task_of(config).attention.seen
    assert seen(image(48, 96), config).size == (48, 96)  # which is one window
    with pytest.raises(InputError, match=r"64x96 in windows of 48x96 .*no context block attends"):
        seen(image(64, 96), config)


def test_a_non_local_block_has_a_map_of_each_point(root):
    config = narrow(root, "nl")
    maps, model = maps_of(config)
    block = context_blocks(model)["decode_head.context"]
    pixels = image(40, 96)  # lies in an array of 64x96
    seen = task_of(config).attention.seen(pixels, config)
    assert seen.pixels.shape == (64, 96, 3)
    found = maps(pixels, "decode_head.context", (0.9, 0.0))
    assert found.of_query
    assert found.weights.sum() == pytest.approx(1, abs=1e-5)  # nothing lies outside of the image
    images = normalize_images(pixels[None])
    alone = jax.jit(lambda x: model.decode_head.convs[0](model.backbone(x)[0]))(images)
    rows, columns = alone.shape[1:3]
    assert found.weights.shape == (rows, columns)
    for point, query in (((0.9, 0.0), int(0.9 * columns)), ((1.0, 1.0), rows * columns - 1)):
        expected = block.attention(alone, jax.numpy.array([query]))[0, 0]
        found = maps(pixels, "decode_head.context", point).weights
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [(100, 300), (300, 100), (128, 128)])
def test_a_classifier_sees_the_part_of_the_image_that_the_window_says(root, size):
    config = load_config(root / "configs" / "context_scenes" / "gcnet.py")
    config.data.resize_size, config.data.crop_size = 96, 64
    height, width = size
    ramp = np.stack(np.broadcast_arrays(np.arange(width), np.arange(height)[:, None], 0), -1)
    pixels = (ramp * 255 / [width - 1, height - 1, 1]).astype(np.uint8)
    seen = task_of(config).attention.seen(pixels, config)
    assert seen.size == seen.pixels.shape[:2] == (64, 64)
    left, top, right, bottom = seen.window
    assert (right - left) * width == pytest.approx((bottom - top) * height, rel=0.02)
    columns, rows = seen.pixels[32, :, 0] / 255, seen.pixels[:, 32, 1] / 255
    assert (columns[0], columns[-1]) == pytest.approx((left, right), abs=0.02)
    assert (rows[0], rows[-1]) == pytest.approx((top, bottom), abs=0.02)


def test_a_detector_attends_within_the_image_and_not_to_what_fills_its_array():
    config = default_config()
    config.model = narrow_config(num_stages=1)
    config.model.backbone.context.stages = (0,)
    config.data.base_scale = (128, 96)
    attention = task_of(config).attention
    model = with_drawn_weights(build_model(config.model, num_classes=CLASSES))
    maps = AttentionMaps(model, attention, config)
    assert list(maps.blocks.values()) == [False, False]
    block = next(iter(maps.blocks))
    pixels = image(40, 100)
    seen = attention.seen(pixels, config)
    assert seen.size == (51, 128)
    assert seen.pixels.shape == (64, 128, 3)
    found = maps(pixels, block)
    assert found.weights.shape == (13, 32)

    in_larger_array = seen._replace(pixels=at_top_left(seen.pixels, (96, 160)))
    changed = dataclasses.replace(attention, seen=lambda pixels, config: in_larger_array)
    same = AttentionMaps(model, changed, config)(pixels, block)
    np.testing.assert_allclose(same.weights, found.weights, rtol=1e-3, atol=1e-6)
    assert 0.5 < found.weights.sum() < 1  # the rest is in the rows that pad it
