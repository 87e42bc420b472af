import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.models import ResNet


def shapes(depth, **options):
    def outputs():
        network = ResNet(depth, base_channels=8, rngs=nnx.Rngs(0), **options)
        return network(jnp.zeros((1, 64, 96, 3)))

    return [output.shape for output in nnx.eval_shape(outputs)]


@pytest.mark.parametrize("variant", ["v1b", "v1c", "v1d"])
@pytest.mark.parametrize(
    ("output_stride", "strides"),
    [(8, (4, 8, 8, 8)), (16, (4, 8, 16, 16)), (32, (4, 8, 16, 32))],
)
def test_four_stages_come_out_at_their_strides(variant, output_stride, strides):
    for depth, expansion in ((18, 1), (50, 4)):
        expected = [
            (1, 64 // stride, 96 // stride, 8 * 2**i * expansion)
            for i, stride in enumerate(strides)
        ]
        assert shapes(depth, variant=variant, output_stride=output_stride) == expected


def test_fewer_stages_are_the_first_ones():
    assert shapes(18, num_stages=2) == shapes(18)[:2]


@pytest.mark.parametrize(
    ("output_stride", "expected"),
    [
        (8, [[1, 1], [1, 1], [1, 2], [2, 4]]),
        (16, [[1, 1], [1, 1], [1, 1], [1, 2]]),
        (32, [[1, 1], [1, 1], [1, 1], [1, 1]]),
    ],
)
def test_stages_that_keep_their_size_are_dilated_and_their_first_block_by_half(
    output_stride, expected
):
    network = nnx.eval_shape(lambda: ResNet(50, output_stride=output_stride, rngs=nnx.Rngs(0)))
    for stage, (first, others) in zip(network.stages, expected, strict=True):
        dilations = [block.conv2.conv.kernel_dilation for block in stage]
        assert dilations == [(first, first)] + [(others, others)] * (len(stage) - 1)


def test_v1d_averages_before_projecting():
    """A projection of stride 2 alone would not see three of four pixels."""

    def seen(variant):
        network = ResNet(
            18, variant=variant, output_stride=32, num_stages=2, base_channels=8, rngs=nnx.Rngs(0)
        )
        network.eval()
        shortcut = network.stages[1][0].shortcut
        gradient = jax.grad(lambda x: jnp.sum(shortcut(x)))(jnp.ones((1, 4, 4, 8)))
        return int((np.abs(np.asarray(gradient)).sum(-1) > 0).sum())

    assert seen("v1c") == 4
    assert seen("v1d") == 16


def test_new_residual_blocks_pass_their_shortcut_on():
    network = ResNet(50, base_channels=8, num_stages=1, rngs=nnx.Rngs(0))
    network.eval()
    block = network.stages[0][1]
    x = jnp.abs(jax.random.normal(jax.random.key(0), (1, 5, 5, 32)))
    np.testing.assert_allclose(block(x), x, rtol=1e-5)


def test_convolutions_start_he_normal_with_fan_out():
    network = ResNet(18, rngs=nnx.Rngs(0))
    kernel = np.asarray(network.stages[3][1].conv1.conv.kernel[...])
    assert abs(kernel.std() / np.sqrt(2 / (9 * 512)) - 1) < 0.01
    assert abs(kernel.mean()) < 1e-4
