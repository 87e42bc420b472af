import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.nn import GlobalContext


def randomized(block: GlobalContext, seed: int = 0) -> GlobalContext:
    """The block with every parameter drawn anew, the last layers included."""
    graphdef, params = nnx.split(block)
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    leaves = [jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32) for leaf in leaves]
    return nnx.merge(graphdef, jax.tree.unflatten(tree, leaves))


def transform(layers, context: np.ndarray) -> np.ndarray:
    """The bottleneck written out: reduce, LayerNorm, ReLU, expand."""
    z = context @ layers.reduce.kernel[...] + layers.reduce.bias[...]
    z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5)
    z = np.maximum(z * layers.norm.scale[...] + layers.norm.bias[...], 0)
    return z @ layers.expand.kernel[...] + layers.expand.bias[...]


@pytest.mark.parametrize("spatial", [(11,), (5, 3), (2, 4, 3)])
@pytest.mark.parametrize("pooling", ["attention", "average"])
@pytest.mark.parametrize("fusion", ["add", "multiply", "both"])
def test_the_block_is_the_papers_formula_on_any_number_of_axes(spatial, pooling, fusion):
    x = np.random.default_rng(1).standard_normal((2, *spatial, 8)).astype(np.float32)
    block = randomized(
        GlobalContext(8, ratio=1 / 2, pooling=pooling, fusion=fusion, rngs=nnx.Rngs(0))
    )

    positions = x.reshape(2, -1, 8)
    if pooling == "attention":
        scores = positions @ np.asarray(block.pool.score.kernel[...])[:, 0]
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    else:
        weights = np.full(positions.shape[:2], 1 / positions.shape[1])
    context = np.einsum("bn,bnc->bc", weights, positions)
    expected = positions
    if fusion in ("multiply", "both"):
        expected = expected / (1 + np.exp(-transform(block.multiply, context)))[:, None]
    if fusion in ("add", "both"):
        expected = expected + transform(block.add, context)[:, None]

    np.testing.assert_allclose(block(x), expected.reshape(x.shape), rtol=1e-4, atol=1e-4)
    attention = jax.jit(block.attention)(x)
    np.testing.assert_allclose(attention.reshape(2, -1), weights, rtol=1e-4, atol=1e-6)


def test_attention_sums_to_one_in_bfloat16_too():
    block = randomized(GlobalContext(8, ratio=1 / 2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    weights = block.attention(jnp.ones((2, 30, 30, 8), jnp.bfloat16))
    np.testing.assert_allclose(weights.sum((1, 2)), 1.0, rtol=1e-5)
