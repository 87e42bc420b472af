"""What context blocks are called with, recorded while a network runs."""

import jax
import numpy as np
from flax import nnx

from gcnet_jax.models import context_blocks, record_block_inputs
from gcnet_jax.tasks.configs import read_config
from gcnet_jax.tasks.segmentation.build_model import build_model


def narrow(root, variant):
    # Not checked: it has one stage alone, and some variants have their blocks in others.
    config = read_config(root / "configs" / "ablation" / "context_shapes.py", variant)
    config.model.backbone.base_channels = 8
    config.model.decode_head.channels = 16
    return config


def inputs_of(model, images):
    inputs = record_block_inputs(model, lambda: model.head_logits(images))
    return {path: features for path, (features, _) in inputs.items()}


def built(root, variant):
    return build_model(narrow(root, variant).model, num_classes=3)


def test_what_a_block_got_explains_what_the_network_says(root):
    images = jax.random.normal(jax.random.key(0), (2, 32, 48, 3))
    model = built(root, "gc")
    expected = jax.jit(lambda x: model.decode_head.convs[0](model.backbone(x)[0]))(images)
    record = jax.jit(lambda x: inputs_of(nnx.clone(model), x))
    (path, features), *others = record(images).items()
    assert path == "decode_head.context"
    assert not others
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_recording_leaves_what_the_network_says(root):
    images = jax.random.normal(jax.random.key(0), (1, 32, 48, 3))
    model = built(root, "gc-conv3")

    def record(images):
        recorded = nnx.clone(model)
        return inputs_of(recorded, images), recorded(images)

    inputs, logits = jax.jit(record)(images)
    assert inputs.keys() == context_blocks(model).keys()
    assert [x.shape for x in inputs.values()] == [(1, 8, 12, 32)] * 3
    np.testing.assert_allclose(logits, jax.jit(lambda x: model(x))(images), rtol=1e-5, atol=1e-6)


def test_what_is_computed_again_in_training_is_recorded_too(root):
    config = narrow(root, "gc-conv3").model
    config.backbone.remat_stages = (0,)
    images = jax.random.normal(jax.random.key(0), (1, 32, 48, 3))
    record = jax.jit(lambda model, x: inputs_of(nnx.clone(model), x), static_argnums=0)
    with_remat = build_model(config, num_classes=3)
    expected = record(built(root, "gc-conv3"), images)
    jax.tree.map(np.testing.assert_array_equal, record(with_remat, images), expected)
