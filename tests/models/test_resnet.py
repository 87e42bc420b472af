import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.errors import InputError
from gcnet_jax.models import ContextPlacement, ResNet
from gcnet_jax.nn import SimplifiedNonLocal


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


def context_at(depth, position, **placement):
    """The residual blocks, as (stage, index), that have a context block, and the network."""
    network = nnx.eval_shape(
        lambda: ResNet(
            depth,
            base_channels=8,
            context=ContextPlacement(
                functools.partial(SimplifiedNonLocal, rngs=nnx.Rngs(0)), position, **placement
            ),
            rngs=nnx.Rngs(0),
        )
    )
    where = {
        (i, j)
        for i, stage in enumerate(network.stages)
        for j, block in enumerate(stage)
        if block.context is not None
    }
    return where, network


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ({"stages": (2,)}, {(2, j) for j in range(6)}),
        ({"stages": (1, 3)}, {(1, j) for j in range(4)} | {(3, j) for j in range(3)}),
        # "right before the last residual block of c4", where the paper has its one block
        ({"stages": (2,), "residual_blocks": (-2,)}, {(2, 4)}),
        ({"stages": (2, 3), "residual_blocks": (0, -1)}, {(2, 0), (2, 5), (3, 0), (3, 2)}),
    ],
)
def test_context_blocks_are_where_the_placement_says(placement, expected):
    assert context_at(50, "after_conv3", **placement)[0] == expected


@pytest.mark.parametrize(
    ("depth", "position", "channels"),
    [
        (50, "after_conv1", 16),
        (50, "after_conv2", 16),
        (50, "after_conv3", 64),
        (50, "after_add", 64),
        (18, "after_conv1", 16),
        (18, "after_conv2", 16),
        (18, "after_add", 16),
    ],
)
def test_a_context_block_has_the_channels_of_its_position(depth, position, channels):
    _, network = context_at(depth, position, stages=(1,))
    assert network.stages[1][0].context.channels == channels


def shifted(position):
    """A residual block of identity 1 with a residual of 0, and a context block that adds -3."""

    def minus_three(channels):
        block = SimplifiedNonLocal(channels, rngs=nnx.Rngs(0))
        block.add = lambda context: jnp.full_like(context, -3.0)
        return block

    placement = ContextPlacement(minus_three, position, stages=(0,))
    network = ResNet(50, base_channels=8, num_stages=1, context=placement, rngs=nnx.Rngs(0))
    network.eval()
    return network.stages[0][1](jnp.ones((1, 5, 5, 32)))


@pytest.mark.parametrize(
    ("position", "value"), [("after_conv3", 0.0), ("after_add", 0.0), ("after_conv2", 1.0)]
)
def test_a_context_block_acts_before_the_last_relu(position, value):
    """1 + (0 - 3) and (1 + 0) - 3 are both below zero; behind conv2, conv3 (scale 0) hides it."""
    np.testing.assert_allclose(shifted(position), value, atol=1e-6)


@pytest.mark.parametrize(
    ("depth", "position", "placement", "says"),
    [
        (50, "after_conv4", {"stages": (1,)}, "after_conv4.*after_conv3.*after_add"),
        (18, "after_conv3", {"stages": (1,)}, "after_conv3.*after_conv2.*after_add"),
        (50, "after_add", {"stages": (4,)}, "context.stages has a stage that is 4"),
        (50, "after_add", {"stages": ()}, "context.stages is empty"),
        (
            50,
            "after_add",
            {"stages": (1,), "residual_blocks": (4,)},
            "residual_blocks has 4; stage 1 has those from -4 to 3",
        ),
    ],
)
def test_a_place_that_is_not_there_is_refused(depth, position, placement, says):
    with pytest.raises(InputError, match=says):
        context_at(depth, position, **placement)
