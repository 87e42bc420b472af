"""What holds for every context block."""

import functools
import math
import pickle
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.models import CONTEXT_BLOCKS
from gcnet_jax.nn import (
    BottleneckTransform,
    ContextBlock,
    GlobalContext,
    NonLocal,
    SimplifiedNonLocal,
    SqueezeExcite,
)
from gcnet_jax.nn.context import modelling
from gcnet_jax.parallel import batch_sharding, create_mesh, replicated

CHANNELS = 8
BLOCKS = {
    "global_context": (GlobalContext, {"ratio": 1 / 2}),
    "global_context, average, both": (
        GlobalContext,
        {"ratio": 1 / 2, "pooling": "average", "fusion": "both"},
    ),
    "non_local": (NonLocal, {}),
    "non_local, dot product": (NonLocal, {"mode": "dot_product"}),
    "simplified_non_local": (SimplifiedNonLocal, {}),
    "squeeze_excite": (SqueezeExcite, {"gate": "sigmoid"}),
}


def test_every_block_of_the_library_is_held_to_this():
    assert {block_class for block_class, _ in BLOCKS.values()} == set(CONTEXT_BLOCKS.values())


@pytest.mark.parametrize("name", BLOCKS)
def test_a_blocks_structure_can_be_pickled(name):
    graphdef, params = nnx.split(build(name))
    block = nnx.merge(pickle.loads(pickle.dumps(graphdef)), params)
    x = features(1, 3, CHANNELS)
    np.testing.assert_array_equal(block(x), build(name)(x))


def build(name: str) -> ContextBlock:
    """A block that does something: the last layers start at zero."""
    block_class, options = BLOCKS[name]
    graphdef, params = nnx.split(block_class(CHANNELS, **options, rngs=nnx.Rngs(0)))
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    leaves = [jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32) for leaf in leaves]
    return nnx.merge(graphdef, jax.tree.unflatten(tree, leaves))


@functools.cache
def compiled(name: str) -> Callable:
    block = build(name)
    return jax.jit(lambda x: block(x))


def features(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(1), shape)


@pytest.mark.parametrize("name", BLOCKS)
@settings(max_examples=10, deadline=None)
@given(spatial=st.sampled_from([(1,), (7,), (3, 4), (2, 1, 3)]), seed=st.integers(0, 99))
def test_positions_have_no_order(name, spatial, seed):
    """Moved positions give the same result, moved: a block knows what there is and not where."""
    batch = 2
    block, x = compiled(name), features(batch, *spatial, CHANNELS)
    order = np.random.default_rng(seed).permutation(int(np.prod(spatial)))
    moved = x.reshape(batch, -1, CHANNELS)[:, order].reshape(x.shape)
    expected = block(x).reshape(batch, -1, CHANNELS)[:, order].reshape(x.shape)
    np.testing.assert_allclose(block(moved), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_images_of_a_batch_do_not_see_each_other(name):
    block, x = build(name), features(3, 4, 5, CHANNELS)
    alone = jnp.concatenate([compiled(name)(image[None]) for image in x])
    np.testing.assert_allclose(block(x), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BLOCKS)
def test_only_the_non_local_block_gathers_by_query(name):
    block, x = build(name), features(2, 4, 5, CHANNELS)
    context = block.pool(x)
    weights = block.attention(x, jnp.array([3, 7]))
    if block.pool.query_independent:
        assert context.shape == (2, 1, 1, CHANNELS)
        np.testing.assert_allclose(weights.sum((1, 2)), 1, rtol=1e-5)
    else:
        assert context.shape == (2, 4, 5, CHANNELS // 2)
        assert weights.shape == (2, 2, 4, 5)
        every = block.attention(x)
        np.testing.assert_allclose(weights, every[:, jnp.array([3, 7])], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((2, CHANNELS), "one, two or three spatial axes"),
        ((2, 2, 2, 2, 2, CHANNELS), "one, two or three spatial axes"),
        ((2, 4, 4, 3), "expected 8 channels"),
        ((2, 0, 4, CHANNELS), "at least one on every axis"),
        ((0, 4, CHANNELS), "at least one on every axis"),
    ],
)
def test_features_of_the_wrong_shape_are_refused(name, shape, says):
    for method in (build(name), build(name).attention):
        with pytest.raises(InputError, match=says):
            method(jnp.zeros(shape))


@pytest.mark.parametrize("name", BLOCKS)
def test_features_that_are_no_floats_are_refused(name):
    for method in (build(name), build(name).attention):
        for compiled in (method, jax.jit(method)):
            with pytest.raises(InputError, match="features have the dtype uint8; expected floats"):
                compiled(jnp.ones((1, 4, CHANNELS), jnp.uint8))
        with pytest.raises(InputError, match="features are a list; expected an array"):
            method([[[1.0] * CHANNELS]])


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        (np.array([3, 20]), "queries go from 3 to 20; expected positions from 0 to 19"),
        (np.array([-1]), "queries go from -1"),
        (np.array([0.5]), "dtype float64; expected a row of whole numbers"),
        (np.array([[1]]), r"shape \(1, 1\)"),
        ([1, 2], "queries are a list"),
    ],
)
def test_queries_that_are_no_positions_are_refused(queries, says):
    with pytest.raises(InputError, match=says):
        build("non_local").attention(features(2, 4, 5, CHANNELS), queries)


def test_the_simplified_block_is_its_equation():
    block, x = build("simplified_non_local"), np.asarray(features(2, 3, 4, CHANNELS))
    positions = x.reshape(2, 12, CHANNELS)
    scores = positions @ np.asarray(block.pool.score.kernel[...])[:, 0]
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    values = positions @ np.asarray(block.add.kernel[...])
    expected = positions + np.einsum("bn,bnc->bc", weights, values)[:, None]
    np.testing.assert_allclose(block(x).reshape(positions.shape), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["global_context", "non_local", "simplified_non_local"])
def test_a_new_block_that_adds_is_the_identity(name):
    block_class, options = BLOCKS[name]
    x = features(2, 3, 4, 5, CHANNELS)
    np.testing.assert_array_equal(block_class(CHANNELS, **options, rngs=nnx.Rngs(0))(x), x)


@pytest.mark.parametrize("activation", ["layer_norm_relu", "relu", "none"])
def test_the_bottleneck_has_what_its_activation_says(activation):
    ones, x = nnx.initializers.ones, jnp.array([[-3.0, 1.0]])
    transform = BottleneckTransform(
        2, 2, activation=activation, reduce_init=_identity, expand_init=ones, rngs=nnx.Rngs(0)
    )
    # the middle is (-3, 1); its LayerNorm (-1, 1)
    expected = {"layer_norm_relu": 1.0, "relu": 1.0, "none": -2.0}[activation]
    np.testing.assert_allclose(transform(x), [[expected, expected]], rtol=1e-5)
    unscaled = np.allclose(transform(2 * x), transform(x), rtol=1e-5)
    assert unscaled == (activation == "layer_norm_relu")


def _identity(key, shape, dtype=jnp.float32, out_sharding=None):
    return jnp.eye(*shape, dtype=dtype)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda **kw: GlobalContext(8, ratio=1 / 9, **kw), "ratio 0.11.*1/8 to 1"),
        (lambda **kw: GlobalContext(8, ratio=-1.0, **kw), "ratio -1.0.*1/8 to 1"),
        (lambda **kw: GlobalContext(8, ratio=2.0, **kw), "ratio 2.0.*1/8 to 1"),
        (lambda **kw: GlobalContext(8, ratio=1, activation="gelu", **kw), "gelu.*layer_norm_relu"),
        (lambda **kw: GlobalContext(8, pooling="max", **kw), "max.*attention.*average"),
        (lambda **kw: GlobalContext(8, fusion="concat", **kw), "concat.*add.*multiply.*both"),
        (lambda **kw: GlobalContext(8, ratio=float("nan"), **kw), "ratio nan"),
        (lambda **kw: GlobalContext(0, **kw), "channels is 0"),
        (lambda **kw: SqueezeExcite(8, ratio=0, **kw), "ratio is 0.*at most 1"),
        (lambda **kw: SqueezeExcite(8, ratio=float("nan"), **kw), "ratio is nan"),
        (lambda **kw: SqueezeExcite(0, **kw), "channels is 0"),
        (lambda **kw: SimplifiedNonLocal(0, **kw), "channels is 0"),
        (lambda **kw: SqueezeExcite(8, gate="relu", **kw), "gate is 'relu'.*hard_sigmoid"),
        (lambda **kw: NonLocal(8, reduction=0, **kw), "reduction is 0.*1 or more, a whole number"),
        (lambda **kw: NonLocal(8, reduction=2.5, **kw), "reduction is 2.5"),
        (lambda **kw: NonLocal(8, reduction=True, **kw), "reduction is True"),
        (lambda **kw: NonLocal(8, mode="softmax", **kw), "mode is 'softmax'.*dot_product"),
        (lambda **kw: NonLocal(8, sub_sample="no", **kw), "sub_sample is 'no'"),
        (lambda **kw: NonLocal(2.5, **kw), "channels is 2.5"),
        (lambda **kw: GlobalContext("8", **kw), "channels is '8'"),
        (lambda **kw: GlobalContext(8, ratio="1/4", **kw), "ratio is '1/4'; expected a number"),
        (lambda **kw: SqueezeExcite(8, ratio=math.nan, **kw), "ratio is nan"),
        (lambda **kw: GlobalContext(8, ratio=1 / 2, dtype=int, **kw), "dtype is .*int.*float32"),
        (lambda **kw: NonLocal(8, dtype="float8", **kw), "dtype is 'float8'.*float32"),
        (lambda **kw: SimplifiedNonLocal(8, dtype=None, **kw), "dtype is None.*float32"),
        (lambda **kw: SqueezeExcite(8, dtype=jnp.complex64, **kw), "dtype is .*complex64.*float32"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_can(make, says):
    with pytest.raises(InputError, match=says):
        make(rngs=nnx.Rngs(0))


def test_sub_sampling_less_than_two_positions_is_refused():
    block = NonLocal(8, sub_sample=True, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="sub_sample needs 2 or more on"):
        block(jnp.ones((1, 1, 4, 8)))


MASKED = BLOCKS | {
    f"non_local, {mode}, {sampling}": (
        NonLocal,
        {"mode": mode, "sub_sample": sampling == "sub-sampled"},
    )
    for mode in ("embedded_gaussian", "gaussian", "dot_product", "concatenation")
    for sampling in ("all keys", "sub-sampled")
}


@pytest.mark.parametrize("name", MASKED)
def test_what_lies_outside_the_mask_has_no_part_in_a_block(name, monkeypatch):
    monkeypatch.setitem(BLOCKS, name, MASKED[name])
    block, sizes = build(name), ((4, 6), (3, 5), (2, 2))
    x = np.array(features(len(sizes), 4, 6, CHANNELS))
    mask = np.zeros((len(sizes), 4, 6), bool)
    for i, (height, width) in enumerate(sizes):
        mask[i, :height, :width] = True
    result = block(x, mask)
    maps = block.attention(x, mask=mask)
    for i, (height, width) in enumerate(sizes):
        alone = x[i : i + 1, :height, :width]
        np.testing.assert_allclose(result[i, :height, :width], block(alone)[0], atol=2e-5)
        if block.pool.query_independent:
            ours = maps[i, :height, :width]
            np.testing.assert_allclose(ours, block.attention(alone)[0], atol=1e-6)
    assert (np.asarray(result)[~mask] == 0).all()


@pytest.mark.parametrize("mask", [np.ones((2, 3), bool), np.ones((2, 3, 4), np.uint8), True])
def test_a_mask_of_another_shape_or_type_is_refused(mask):
    x = features(2, 3, 4, CHANNELS)
    with pytest.raises(InputError, match=r"mask has the shape .*; expected .* \(2, 3, 4\)"):
        build("global_context")(x, mask)


@pytest.mark.parametrize("name", BLOCKS)
def test_devices_that_share_images_compute_what_one_computes(name, monkeypatch):
    """Values and gradients, with queries in several blocks where there are queries."""
    monkeypatch.setattr(modelling, "QUERIES_AT_ONCE", 20)
    graphdef, params = nnx.split(build(name))
    x = features(4, 8, 6, CHANNELS)
    mesh = create_mesh(spatial=4)

    @jax.jit
    def compute(params, x):
        def scalar(params, x):
            y = nnx.merge(graphdef, params)(x)
            return jnp.sum(jnp.sin(y)), y

        return jax.grad(scalar, argnums=(0, 1), has_aux=True)(params, x)

    alone = compute(params, x)
    split = jax.device_put(x, batch_sharding(mesh, of_images=True))
    together = compute(jax.device_put(params, replicated(mesh)), split)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        # Some gradients are zero in theory, such as that of a score's bias: there is only noise.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(np.abs(b).max(), 10))
