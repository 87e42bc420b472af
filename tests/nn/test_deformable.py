import jax.numpy as jnp
from flax import nnx

from gcnet_jax.nn import DeformableConv


def test_offsets_in_bfloat16_have_the_fractions_of_float32():
    # Numbers of bfloat16 are a sixteenth apart from eight on.
    conv = DeformableConv(1, 1, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    conv.kernel[...] = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    conv.offset.bias[...] = jnp.tile(jnp.array([0.0, 8 + 1 / 32]), 9)
    x = jnp.zeros((1, 1, 12, 1)).at[:, :, 9].set(1)
    y = conv(x)
    assert y.dtype == jnp.bfloat16
    assert y[0, 0, :3, 0].tolist() == [1 / 32, 31 / 32, 0]
