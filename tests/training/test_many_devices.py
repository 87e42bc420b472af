"""Training on any number of devices is training on one, up to the rounding of float32."""

import functools
import math

import jax
import numpy as np
import optax
import pytest

from gcnet_jax.parallel import create_mesh, shard_batch
from gcnet_jax.tasks.segmentation.build_model import model_config

HEIGHT = 64  # 8 rows of features at stride 8: one for each of 8 devices
TOLERANCE = 2e-5  # of an array's largest value
NOISE = 1e-4  # arrays of smaller values are rounding alone: some gradients are zero in theory


def three_steps(make_setup, make_batch, devices, spatial=1, **options):
    """Losses, gradient norms and the state after three steps on different batches, with dropout."""
    mesh = create_mesh(jax.devices()[:devices], spatial=spatial)
    _, state, step, _ = make_setup(mesh, dropout=0.5, **options)
    scalars = []
    for seed in range(3):
        state, metrics = step(
            state, shard_batch(make_batch(seed, height=HEIGHT), mesh, ("image", "label"))
        )
        scalars += [float(metrics["loss"]), float(metrics["gradient_norm"])]
    return scalars, jax.device_get(state)


@functools.cache
def on_one_device(make_setup, make_batch):
    return three_steps(make_setup, make_batch, 1)


def assert_same_run(actual, expected, *, tolerance=TOLERANCE):
    np.testing.assert_allclose(actual[0], expected[0], rtol=tolerance)
    for path, leaf in jax.tree.leaves_with_path(expected[1]):
        other = functools.reduce(_child, path, actual[1])
        scale = max(np.abs(leaf).max(), NOISE)
        np.testing.assert_allclose(other, leaf, rtol=0, atol=tolerance * scale, err_msg=str(path))


def distance(actual, expected):
    """Of two trees, relative to the size of the second."""
    difference = jax.tree.map(np.subtract, actual, expected)
    return float(optax.tree.norm(difference) / optax.tree.norm(expected))


def _child(node, key):
    name = getattr(key, "name", getattr(key, "key", getattr(key, "idx", None)))
    return getattr(node, name) if isinstance(key, jax.tree_util.GetAttrKey) else node[name]


@pytest.mark.parametrize(
    ("devices", "spatial"),
    [
        (2, 1),
        (8, 8),
        *(pytest.param(*mesh, marks=pytest.mark.slow) for mesh in [(8, 1), (8, 2)]),
        *(pytest.param(*mesh, marks=pytest.mark.campaign) for mesh in [(4, 1), (2, 2)]),
    ],
)
def test_losses_gradients_statistics_and_dropout_are_those_of_one_device(
    make_setup, make_batch, devices, spatial
):
    run = three_steps(make_setup, make_batch, devices, spatial)
    assert_same_run(run, on_one_device(make_setup, make_batch))


@pytest.mark.parametrize("spatial", [4, pytest.param(1, marks=pytest.mark.campaign)])
def test_a_state_spread_over_the_devices_takes_the_same_steps(make_setup, make_batch, spatial):
    run = three_steps(make_setup, make_batch, 8, spatial, fsdp=True)
    assert_same_run(run, on_one_device(make_setup, make_batch))


def test_fsdp_leaves_each_device_its_part_of_large_parameters_and_momentum(make_setup, make_batch):
    section = model_config("gcnet_r18-d16")
    section.backbone.base_channels, section.backbone.num_stages = 32, 1
    section.decode_head.stage, section.decode_head.channels = 0, 64
    section.auxiliary_head.enabled = False
    mesh = create_mesh(spatial=2)
    _, state, step, _ = make_setup(mesh, fsdp=True, model_section=section)
    batch = shard_batch(make_batch(0, height=HEIGHT), mesh, ("image", "label"))
    for _ in range(2):  # the layout lasts
        for part in (state.params, state.optimizer):
            large = [x for x in jax.tree.leaves(part) if x.size >= 2**14]
            assert large
            assert all(x.addressable_shards[0].data.size == x.size // 8 for x in large)
        assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state.statistics))
        state, _ = step(state, batch)


@pytest.mark.campaign
def test_accumulation_and_spatial_axes_go_together(make_setup, make_batch):
    runs = [
        three_steps(make_setup, make_batch, devices, spatial, accumulation_steps=2)
        for devices, spatial in [(1, 1), (8, 4)]
    ]
    assert_same_run(runs[1], runs[0])


@pytest.mark.campaign
def test_devices_that_share_an_image_need_less_memory_for_it(make_setup, make_batch):
    """What is kept for the gradient of one image shrinks almost as the devices grow."""
    temporary = []
    for devices in (1, 8):
        mesh = create_mesh(jax.devices()[:devices], spatial=devices)
        _, state, step, _ = make_setup(mesh)
        batch = shard_batch(make_batch(0, size=1, height=512), mesh, ("image", "label"))
        program = step.lower(state, batch).compile()
        temporary.append(program.memory_analysis().temp_size_in_bytes)
    assert temporary[1] < temporary[0] / 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "devices", "spatial"),
    [
        pytest.param(18, 8, 1, marks=pytest.mark.campaign),
        pytest.param(50, 8, 2, marks=pytest.mark.campaign),
        pytest.param(18, 8, 8, marks=pytest.mark.campaign),
    ],
)
def test_dilated_networks_with_blocks_in_the_backbone_train_alike(
    make_setup, make_batch, monkeypatch, depth, devices, spatial
):
    def network():
        config = model_config(f"gcnet_r{depth}-d8")
        config.backbone.base_channels = 8
        config.decode_head.channels = config.auxiliary_head.channels = 16
        config.backbone.context.block = "global_context"
        config.backbone.context.position = "after_add"
        config.backbone.context.global_context.ratio = 1 / 4
        return config

    # One device alone would compute wide convolutions in another way.
    monkeypatch.setattr("gcnet_jax.ops.convolution._FEWEST_CHANNELS", math.inf)
    one = three_steps(make_setup, make_batch, 1, model_section=network())
    many = three_steps(make_setup, make_batch, devices, spatial, model_section=network())
    # Deep networks that have just begun to learn amplify rounding from step to step, above all in
    # single values that were zero before: each part of the state is compared as a whole.
    np.testing.assert_allclose(many[0], one[0], rtol=2e-3)
    for part, tolerance in {"params": 1e-4, "statistics": 1e-4, "optimizer": 3e-2}.items():
        assert distance(getattr(many[1], part), getattr(one[1], part)) < tolerance, part
