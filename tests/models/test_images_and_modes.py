"""What models say to images that are not what they expect, and when they are called too early."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gcnet_jax
from gcnet_jax.errors import InputError
from gcnet_jax.models import ResNet
from gcnet_jax.nn import BatchNorm, Conv, ConvNormAct, GlobalContext
from gcnet_jax.tasks.segmentation.heads import FCNHead
from gcnet_jax.tasks.segmentation.segmentor import Segmentor
from tests.models.test_factory import narrow

NORMALIZED = np.asarray(np.random.default_rng(0).normal(0, 1, (2, 16, 24, 3)), np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (2, 16, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    return gcnet_jax.build_model(narrow(), num_classes=5)


def entry_points(model):
    """Everything of a model that takes images."""
    apply, variables = gcnet_jax.functional(model)
    return {
        "model": model,
        "head_logits": model.head_logits,
        "decode": model.decode,
        "attention": model.attention,
        "backbone": model.backbone,
        "functional": lambda images: apply(variables, images),
        "a gradient": jax.grad(lambda images: model(images).sum()),
        "jit": jax.jit(lambda images: model(images)),
    }


def test_a_new_model_is_ready_to_call_and_gives_what_its_functional_form_does(model):
    apply, variables = gcnet_jax.functional(model)
    images = gcnet_jax.normalize_images(PIXELS)
    np.testing.assert_allclose(model(images), apply(variables, images), rtol=1e-5, atol=1e-6)
    before = jax.tree.map(np.asarray, nnx.state(model, nnx.BatchStat))
    model(images)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model, nnx.BatchStat))


def test_a_model_by_name_is_ready_to_call_too():
    model = nnx.eval_shape(lambda: gcnet_jax.create_model("gcnet_r18-d32", num_classes=3))
    assert model.decode_head.dropout.deterministic
    assert model.backbone.stem[0].norm.use_running_average


def test_in_training_mode_a_model_says_what_to_do():
    model = gcnet_jax.build_model(narrow(), num_classes=5)
    model.train()
    for call in (model, model.head_logits):
        with pytest.raises(InputError, match=r"call model\.eval\(\) for inference, or give rngs="):
            call(NORMALIZED)
    logits = model.head_logits(NORMALIZED, rngs=nnx.Rngs(dropout=0))
    assert np.isfinite(logits.decode).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, bool])
def test_images_that_are_no_floats_are_told_of_normalize_images(model, dtype):
    for name, call in entry_points(model).items():
        if name == "a gradient":  # which JAX itself does not take of integers
            continue
        with pytest.raises(InputError, match=rf"dtype {np.dtype(dtype)}.*gcnet_jax\.normalize_im"):
            call(PIXELS.astype(dtype))


@pytest.mark.parametrize("scale", [255.0, np.nan])
def test_floats_up_to_255_are_told_of_normalize_images_where_values_are_seen(model, scale):
    for name, call in entry_points(model).items():
        if name in ("jit", "a gradient"):
            continue
        with pytest.raises(InputError, match=r"values up to (2|nan).*gcnet_jax\.normalize_images"):
            call(np.float32(scale) * np.abs(np.tanh(NORMALIZED)))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((16, 24, 3), r"expected \(batch, height, width, 3\): add the axis of the batch"),
        ((2, 3, 16, 24), r"channels come last, images\.transpose\(0, 2, 3, 1\)"),
        ((2, 16, 24, 1), r"shape \(2, 16, 24, 1\); expected \(batch, height, width, 3\)(?!:)"),
        ((2, 16, 24, 4), "expected"),
        ((2, 2, 16, 24, 3), "expected"),
        ((3,), "expected"),
        ((), "expected"),
        ((0, 16, 24, 3), "expected"),
        ((2, 0, 24, 3), "expected"),
    ],
)
def test_images_of_another_shape_are_told_which(model, shape, says):
    for call in entry_points(model).values():
        with pytest.raises(InputError, match=says):
            call(jnp.zeros(shape))


def test_images_in_lists_are_refused(model):
    with pytest.raises(InputError, match="images are a list; expected an array"):
        model([[[[0.0, 0.0, 0.0]]]])


def test_a_mapped_model_wants_a_batch_within(model):
    apply, variables = gcnet_jax.functional(model)
    with pytest.raises(InputError, match="add the axis of the batch"):
        jax.vmap(apply, (None, 0))(variables, NORMALIZED)
    mapped = jax.vmap(apply, (None, 0))(variables, NORMALIZED[:, None])
    np.testing.assert_allclose(mapped[:, 0], apply(variables, NORMALIZED), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        (np.ones((2,), np.int32), r"shape \(2,\)"),
        (np.ones((1, 2), np.int32), r"shape \(1, 2\)"),
        (np.ones((2, 2), np.float32), "dtype float32"),
        ([(16, 24), (16, 24)], "sizes are a list"),
    ],
)
def test_sizes_of_another_shape_or_type_are_refused(model, sizes, says):
    for call in (model, model.decode):
        with pytest.raises(InputError, match=says):
            call(NORMALIZED, sizes)
    with pytest.raises(InputError, match=says):
        gcnet_jax.normalize_images(PIXELS, sizes)


def test_a_mask_of_another_shape_or_type_is_refused(model):
    for mask in (np.ones((2, 16), bool), np.ones((2, 16, 24), np.int32)):
        with pytest.raises(InputError, match="expected true or false for each position"):
            model.backbone(NORMALIZED, mask)


def rngs():
    return nnx.Rngs(0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: FCNHead(8, 4, 0, rngs=rngs()), "num_classes is 0"),
        (lambda: FCNHead(8.0, 4, 3, rngs=rngs()), "in_channels is 8.0"),
        (lambda: FCNHead(8, 4, 3, num_convs=0, rngs=rngs()), "num_convs is 0"),
        (lambda: FCNHead(8, 4, 3, dropout_rate=-1, rngs=rngs()), "dropout_rate is -1"),
        (lambda: FCNHead(8, 4, 3, dropout_rate=1.0, rngs=rngs()), "dropout_rate is 1.0.*less than"),
        (lambda: FCNHead(8, 4, 3, dropout_rate=np.nan, rngs=rngs()), "dropout_rate is nan"),
        (lambda: FCNHead(8, 4, 3, dtype="int32", rngs=rngs()), "dtype is 'int32'"),
        (
            lambda: FCNHead(8, 4, 3, context=GlobalContext(8, ratio=1, rngs=rngs()), rngs=rngs()),
            "context block is for 8 channels; expected 4",
        ),
        (lambda: ResNet(18, base_channels=0, rngs=rngs()), "base_channels is 0"),
        (lambda: ResNet(18, base_channels=1, rngs=rngs()), "base_channels is 1; expected 2"),
        (lambda: ResNet(18, base_channels=2.5, rngs=rngs()), "base_channels is 2.5"),
        (lambda: ResNet(18.0, rngs=rngs()), "depth is 18.0"),
        (lambda: ResNet(18, num_stages=True, rngs=rngs()), "num_stages is True"),
        (lambda: ResNet(18, base_channels=4, dtype="foo", rngs=rngs()), "dtype is 'foo'"),
        (lambda: Conv(3, 4, 0, rngs=rngs()), "kernel_size is 0"),
        (lambda: Conv(3, 4, 3, stride=-1, rngs=rngs()), "stride is -1"),
        (lambda: ConvNormAct(3, 4, 3, dilation=0, rngs=rngs()), "dilation is 0"),
        (lambda: BatchNorm(0, rngs=rngs()), "num_features is 0"),
        (lambda: BatchNorm(4, momentum=1.5, rngs=rngs()), "momentum is 1.5"),
        (lambda: BatchNorm(4, epsilon=-1e-5, rngs=rngs()), "epsilon is -1e-05"),
    ],
)
def test_modules_that_cannot_be_are_refused_with_what_can(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_parts_that_do_not_fit_together_are_refused():
    backbone = ResNet(18, num_stages=2, base_channels=4, rngs=rngs())
    head = FCNHead(8, 4, 3, rngs=rngs())
    Segmentor(backbone, head, decode_stage=1)
    with pytest.raises(InputError, match=r"decode head is for 8 channels; expected 4, .* stage 0"):
        Segmentor(backbone, head, decode_stage=0)
    with pytest.raises(InputError, match=r"decode head reads stage 2, but .* 2 stages"):
        Segmentor(backbone, head, decode_stage=2)
    with pytest.raises(InputError, match="auxiliary head reads stage -1"):
        Segmentor(backbone, head, decode_stage=1, auxiliary_head=head, auxiliary_stage=-1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv(4, 2, 3, rngs=rngs()),
        lambda: ConvNormAct(4, 2, 3, rngs=rngs()),
        lambda: BatchNorm(4, rngs=rngs()),
        lambda: FCNHead(4, 2, 3, dropout_rate=0, rngs=rngs()),
    ],
    ids=["Conv", "ConvNormAct", "BatchNorm", "FCNHead"],
)
def test_layers_refuse_features_of_other_channels_and_types(make):
    layer = make()
    for call in (layer, jax.jit(lambda x: nnx.clone(layer)(x))):
        call(jnp.ones((1, 4, 4, 4)))
        with pytest.raises(InputError, match="expected 4 channels"):
            call(jnp.ones((1, 4, 4, 1)))
        with pytest.raises(InputError, match="dtype int32; expected floats"):
            call(jnp.ones((1, 4, 4, 4), jnp.int32))
        with pytest.raises(InputError, match="spatial ax"):
            call(jnp.ones((1, 4, 4, 4, 4, 4)))
