"""Attention maps of trained networks: of each task, and where they lie in the image."""

import jax
import numpy as np
import pytest

from gcnet_jax.analysis import AttentionMaps, context_blocks
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks import task_of
from gcnet_jax.tasks.configs import read_config


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
    features = model.backbone(normalize_images(pixels[None]))
    expected = model.decode_head.attention(features[model.decode_stage])
    assert found.weights.shape == expected.shape[1:]
    np.testing.assert_allclose(found.weights, expected[0], rtol=1e-4, atol=1e-7)
    assert found.weights.sum() == pytest.approx(1, abs=1e-5)
    assert (found.window, found.of_query) == ((0, 0, 1, 1), False)


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
    alone = model.decode_head.convs[0](model.backbone(normalize_images(pixels[None]))[0])
    rows, columns = alone.shape[1:3]
    assert found.weights.shape == (rows, columns)
    for point, query in (((0.9, 0.0), int(0.9 * columns)), ((1.0, 1.0), rows * columns - 1)):
        expected = block.attention(alone, jax.numpy.array([query]))[0, 0]
        found = maps(pixels, "decode_head.context", point).weights
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
