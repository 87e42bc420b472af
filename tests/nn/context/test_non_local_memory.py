"""The matrix of all pairs of positions never exists as a whole."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.nn import NonLocal
from gcnet_jax.nn.context import modelling

MODES = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")


def loss_and_gradients(block):
    graphdef, params = nnx.split(block)

    def loss(params, x):
        y = nnx.merge(graphdef, params)(x)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size).reshape(y.shape))), y

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)), params


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sub_sample", [False, True])
def test_in_blocks_the_numbers_and_gradients_are_those_of_the_whole_matrix(
    mode, sub_sample, monkeypatch
):
    x = jax.random.normal(jax.random.key(0), (2, 5, 7, 6))
    block = NonLocal(6, mode=mode, sub_sample=sub_sample, rngs=nnx.Rngs(0))
    block.add.kernel[...] = jax.random.normal(jax.random.key(1), block.add.kernel.shape)
    whole, params = loss_and_gradients(block)
    expected = whole(params, x)
    monkeypatch.setattr(modelling, "QUERIES_AT_ONCE", 8)  # 35 queries: five blocks, one not full
    in_blocks, params = loss_and_gradients(block)
    assert "while" in in_blocks.lower(params, x).as_text()
    assert "while" not in whole.lower(params, x).as_text()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        in_blocks(params, x),
        expected,
    )


def test_memory_grows_with_the_positions_and_not_with_their_square():
    """On the features of a 1024x2048 image at stride 8 all pairs would take 4 GiB."""

    def bytes_needed(height, width):
        step, params = loss_and_gradients(NonLocal(32, rngs=nnx.Rngs(0)))
        x = jax.ShapeDtypeStruct((1, height, width, 32), jnp.float32)
        return step.lower(params, x).compile().memory_analysis().temp_size_in_bytes

    quarter, half, whole = bytes_needed(64, 128), bytes_needed(64, 256), bytes_needed(128, 256)
    all_pairs = 4 * (128 * 256) ** 2
    assert whole < all_pairs / 16
    assert half < 2.2 * quarter
    assert whole < 2.2 * half


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_process_that_runs_it_stays_small():
    """The same as the operating system sees it, on features of that size (values alone: time)."""
    script = """
import re, jax, jax.numpy as jnp
from pathlib import Path
from flax import nnx
from gcnet_jax.nn import NonLocal

graphdef, params = nnx.split(NonLocal(4, rngs=nnx.Rngs(0)))
x = jnp.ones((1, 128, 256, 4))
step = jax.jit(lambda params: jnp.sum(nnx.merge(graphdef, params)(x)))
jax.block_until_ready(step(params))
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    kibibytes = int(process.stdout)
    assert kibibytes < 2 * 2**20, f"{kibibytes / 2**20:.1f} GiB"
