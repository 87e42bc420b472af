import jax
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from gcnet_jax.nn import NonLocal, SqueezeExcite

MODES = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")


def block(mode="embedded_gaussian", **options):
    """A block that does something: its last layer starts at zero."""
    made = NonLocal(6, mode=mode, **options, rngs=nnx.Rngs(0))
    for seed, layer in enumerate((made.add, made.pool.theta, made.pool.phi)):
        if layer is not None:  # initial weights are so small that all affinities are the same
            layer.kernel[...] = jax.random.normal(jax.random.key(seed), layer.kernel.shape)
    return made


@pytest.mark.parametrize("mode", MODES)
def test_a_new_block_is_the_identity(mode):
    x = jax.random.normal(jax.random.key(0), (2, 4, 5, 6))
    np.testing.assert_array_equal(NonLocal(6, mode=mode, rngs=nnx.Rngs(0))(x), x)


@pytest.mark.parametrize("mode", MODES)
def test_positions_gather_by_their_affinity_one_by_one(mode):
    """The definition of the paper, written out for single pairs of positions."""
    made, x = block(mode), jax.random.normal(jax.random.key(0), (1, 2, 3, 6))
    positions = np.asarray(x).reshape(6, 6)

    def linear(layer, vector):
        return vector @ layer.kernel[...] + (0 if layer.bias is None else layer.bias[...])

    def score(query, key):
        if mode == "gaussian":
            return query @ key
        query, key = linear(made.pool.theta, query), linear(made.pool.phi, key)
        if mode == "concatenation":
            return max(linear(made.pool.project, np.concatenate([query, key]))[0], 0.0)
        return query @ key / (3**0.5 if mode == "embedded_gaussian" else 1)

    scores = np.array([[score(query, key) for key in positions] for query in positions])
    if mode in ("gaussian", "embedded_gaussian"):
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    else:
        weights = scores / len(positions)
    values = np.array([linear(made.pool.g, position) for position in positions])
    expected = positions + np.array([linear(made.add, weight @ values) for weight in weights])
    np.testing.assert_allclose(made(x).reshape(6, 6), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_the_gradient_of_its_finite_differences(mode):
    made, x = block(mode), jax.random.normal(jax.random.key(0), (1, 2, 2, 6))
    graphdef, params = nnx.split(made)
    check_grads(
        lambda params, x: nnx.merge(graphdef, params)(x), (params, x), 1, ["rev"], rtol=2e-2
    )


@pytest.mark.parametrize(
    ("shape", "keys"), [((2, 9, 6), 4), ((2, 5, 4, 6), 4), ((1, 3, 4, 6, 6), 18)]
)
def test_sub_sampling_shrinks_space_and_leaves_time(shape, keys):
    x = jax.random.normal(jax.random.key(0), shape)
    made = block(sub_sample=True)
    assert made(x).shape == shape
    positions = np.prod(shape[1:-1])
    weights = made.attention(x).reshape(shape[0], positions, keys)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 7, 16), (2, 4, 5, 16), (1, 2, 3, 4, 16)])
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
def test_squeeze_excitation_gates_whole_channels_between_zero_and_one(shape, gate):
    x = jax.random.uniform(jax.random.key(0), shape, minval=0.5)
    ratios = np.asarray(SqueezeExcite(16, gate=gate, rngs=nnx.Rngs(0))(x) / x)
    flat = ratios.reshape(shape[0], -1, 16)
    np.testing.assert_allclose(flat, np.broadcast_to(flat[:, :1], flat.shape), rtol=1e-5)
    assert (flat >= 0).all()
    assert (flat <= 1).all()


@pytest.mark.parametrize(("channels", "ratio", "width"), [(256, 1 / 16, 16), (24, 1 / 4, 8)])
def test_the_bottleneck_of_squeeze_excitation_is_a_multiple_of_eight(channels, ratio, width):
    made = SqueezeExcite(channels, ratio=ratio, rngs=nnx.Rngs(0))
    assert made.multiply.reduce.kernel.shape == (channels, width)
