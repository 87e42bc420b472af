import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.analysis import query_distances
from gcnet_jax.analysis import query_independence as module
from gcnet_jax.errors import InputError
from gcnet_jax.nn import GlobalContext, NonLocal, SqueezeExcite

SIZE, CHANNELS = (5, 7), 6


def features():
    return jax.random.normal(jax.random.key(0), (*SIZE, CHANNELS))


def non_local(**options):
    block = NonLocal(CHANNELS, **options, rngs=nnx.Rngs(0))
    layers = (block.add, block.pool.theta, block.pool.phi)
    for seed, layer in enumerate(layer for layer in layers if layer is not None):
        layer.kernel[...] = jax.random.normal(jax.random.key(seed), layer.kernel.shape)
    return block


def average_over_pairs(vectors, distance):
    """Section 3.2 of the paper, pair by pair; vectors of zeros are left out."""
    vectors = np.asarray(vectors, np.float64).reshape(np.prod(SIZE), -1)
    present = vectors[np.abs(vectors).sum(1) > 0]
    pairs = [distance(present[i], present[j]) for i in range(len(present)) for j in range(i)]
    return np.mean(pairs) * (1 - 1 / len(vectors))  # a position is at no distance from itself


def cosine(a, b):
    return (1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) / 2


def jensen_shannon(a, b):
    return 0.5 * np.sum(a * np.log(2 * a / (a + b)) + b * np.log(2 * b / (a + b)))


@pytest.mark.parametrize("mode", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize("sub_sample", [False, True])
def test_distances_are_the_papers_averages_over_all_pairs(mode, sub_sample, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 16)  # 35 queries: three parts, one not full
    block, x = non_local(mode=mode, sub_sample=sub_sample), features()
    found = jax.jit(lambda x: query_distances(block, x))(x)
    maps = block.attention(x[None])[0]
    np.testing.assert_allclose(found.input, average_over_pairs(x, cosine), rtol=1e-4)
    change = block(x[None])[0] - x
    expected = average_over_pairs(change, cosine)
    np.testing.assert_allclose(found.output, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(
        found.attention, average_over_pairs(maps, cosine), rtol=1e-4, atol=5e-7
    )
    if mode in ("dot_product", "concatenation"):  # no distributions
        assert np.isnan(found.attention_divergence)
    else:
        expected = average_over_pairs(maps, jensen_shannon)
        np.testing.assert_allclose(found.attention_divergence, expected, rtol=1e-3)


def test_samples_of_positions_estimate_the_exact_distances_without_bias():
    block, x = non_local(), features()
    exact = query_distances(block, x)
    estimate = jax.jit(lambda queries: query_distances(block, x, queries))
    rng = np.random.default_rng(0)
    samples = [estimate(rng.choice(35, 6, replace=False)) for _ in range(300)]
    for name in ("attention", "attention_divergence"):
        values = np.array([getattr(sample, name) for sample in samples])
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - getattr(exact, name)) < 4 * error
        assert error < 0.05 * getattr(exact, name)
    np.testing.assert_allclose([s.input for s in samples], exact.input, rtol=1e-5)


def test_all_positions_as_the_sample_give_the_exact_distances():
    block, x = non_local(), features()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4),
        query_distances(block, x, jnp.arange(35)[::-1]),
        query_distances(block, x),
    )


def test_a_global_context_block_does_the_same_for_every_query():
    block = GlobalContext(CHANNELS, ratio=1, rngs=nnx.Rngs(0))
    block.add.expand.kernel[...] = jax.random.normal(jax.random.key(0), (CHANNELS, CHANNELS))
    found = query_distances(block, features())
    assert found.attention == found.attention_divergence == 0
    np.testing.assert_allclose(found.output, 0, atol=1e-6)
    assert found.input > 0.1


def test_the_output_of_a_gate_depends_on_the_query_as_the_input_does():
    found = query_distances(SqueezeExcite(CHANNELS, rngs=nnx.Rngs(0)), features())
    assert found.output > 0.1


def test_the_output_of_a_block_that_does_nothing_has_no_distance():
    found = query_distances(NonLocal(CHANNELS, rngs=nnx.Rngs(0)), features())
    assert np.isnan(found.output)
    assert np.isfinite(found.input)


def test_a_sample_of_one_position_is_refused():
    with pytest.raises(InputError, match="1 positions are no sample"):
        query_distances(non_local(), features(), jnp.array([3]))


def test_one_direction_alone_has_no_distances():
    x = jnp.zeros((*SIZE, CHANNELS)).at[2, 3].set(1.0)
    assert np.isnan(query_distances(non_local(), x).input)


def test_in_bfloat16_distances_are_near_those_in_float32():
    block, x = non_local(dtype=jnp.bfloat16), features().astype(jnp.bfloat16)
    exact = query_distances(non_local(), x.astype(jnp.float32))
    np.testing.assert_allclose(query_distances(block, x), exact, rtol=0.05)


def test_one_position_is_at_no_distance_from_itself():
    found = query_distances(non_local(), features()[:1, :1])
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_memory_does_not_grow_with_the_square_of_the_positions():
    block = non_local()

    def bytes_needed(height, width):
        program = jax.jit(lambda x: query_distances(block, x))
        shape = jax.ShapeDtypeStruct((height, width, CHANNELS), jnp.float32)
        return program.lower(shape).compile().memory_analysis().temp_size_in_bytes

    quarter, half, whole = bytes_needed(64, 128), bytes_needed(64, 256), bytes_needed(128, 256)
    assert whole < 4 * (128 * 256) ** 2 / 16
    assert half < 3 * quarter  # and not 4 times
    assert whole < 3 * half


def test_what_fills_an_array_up_is_not_compared_and_not_attended_to():
    block, x = non_local(), features()
    padded = jnp.pad(x, ((0, 2), (0, 3), (0, 0)), constant_values=5.0)
    mask = jnp.pad(jnp.ones(SIZE, bool), ((0, 2), (0, 3)))
    queries = jnp.array([0, 8, 34])
    found = query_distances(block, padded, queries, mask=mask, size=SIZE)
    np.testing.assert_allclose(found, query_distances(block, x, queries), rtol=1e-4, atol=1e-7)
