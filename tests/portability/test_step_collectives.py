"""What the devices send to each other in a training step, counted in the compiled program."""

import functools
import re

import jax
import pytest
from jax.experimental import topologies
from ml_collections import ConfigDict

from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.program import TrainingProgram
from tests.collectives import carrying, read_collectives, summarize

R50 = "configs/gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
CROP = (64, 96)
CLASSES = 19


def narrow_config(root):
    """Returns a published run's config with one stage of few channels."""
    config = load_config(root / R50)
    config.model.backbone.depth, config.model.backbone.num_stages = 18, 1
    config.model.backbone.base_channels = 16
    config.model.decode_head.stage, config.model.decode_head.channels = 0, 64
    config.model.auxiliary_head.enabled = False
    return config


@functools.cache
def narrow(root, spatial=1, fsdp=False):
    """Compiles the narrow config's training step for eight devices."""
    config = narrow_config(root)
    config.parallel.spatial, config.parallel.fsdp = spatial, fsdp
    return compiled(config)


def compiled(config: ConfigDict):
    config.data.crop_size = CROP
    program = TrainingProgram(segmentation, config, DatasetClasses.numbered(CLASSES))
    return program.shapes[0], read_collectives(program.compile().largest.as_text())


def float32_bytes(tree):
    return 4 * sum(leaf.size for leaf in jax.tree.leaves(tree))


def check_gradients(state, collectives):
    """Two all-reduces carry nearly all bytes; those of batch statistics are small and many."""
    assert set(summarize(collectives)) == {"all-reduce"}
    assert {collective.group for collective in collectives} == {8}
    gradients, statistics = float32_bytes(state.params), float32_bytes(state.statistics)
    # Mean and variance of each channel forward. The sums on the way back are the gradients' own.
    reduced = summarize(collectives)["all-reduce"]["bytes"]
    assert reduced == pytest.approx(gradients + statistics, rel=2e-3)
    large = carrying(collectives, 0.9)
    assert len(large) <= 2
    assert sum(collective.arrays for collective in large) > 15
    normalizations = len(jax.tree.leaves(state.statistics)) // 2
    # Both statistics travel together, and so do both sums on the way back.
    assert len(collectives) <= 2 * normalizations + 5


def test_over_data_gradients_leave_in_two_all_reduces_and_nothing_else_but_statistics(root):
    check_gradients(*narrow(root))


def test_over_spatial_neighbours_swap_single_rows_and_nobody_gathers_features(root):
    _, collectives = narrow(root, spatial=4)
    assert set(summarize(collectives)) == {"all-reduce", "all-gather", "collective-permute"}
    permuted = [c for c in collectives if c.kind == "collective-permute"]
    assert len(permuted) >= 2 * 8  # convolutions of 3x3, from above and below
    rows = [int(re.fullmatch(r"\w+\[4,(\d+),\d+,\d+\]", c.shapes[0])[1]) for c in permuted]
    assert max(rows) <= 2
    # What the loss resizes, of a device's four images, a quarter as high and as wide.
    gathered = {c.shapes for c in collectives if c.kind == "all-gather"}
    assert gathered == {(f"f32[4,{CROP[0] // 4},{CROP[1] // 4},{CLASSES}]",)}


@pytest.mark.slow
def test_fsdp_gathers_parameters_for_each_pass_and_reduces_gradients_as_before(root):
    state, collectives = narrow(root, fsdp=True)
    summary = summarize(collectives)
    spread = [x for x in jax.tree.leaves(state.params) if not x.sharding.is_fully_replicated]
    assert len(spread) >= 2
    assert summary["all-gather"]["bytes"] <= 2 * float32_bytes(spread)
    assert summary["all-gather"]["bytes"] >= float32_bytes(spread)
    reduced = sum(
        summary[kind]["bytes"] for kind in ("all-reduce", "reduce-scatter") if kind in summary
    )
    assert reduced == pytest.approx(
        float32_bytes(state.params) + float32_bytes(state.statistics), rel=0.01
    )


@pytest.mark.campaign
def test_the_published_network_sends_its_gradients_in_two_all_reduces(root):
    check_gradients(*compiled(load_config(root / R50)))


@pytest.mark.slow
def test_the_compiler_for_tpus_joins_all_gradients_and_sums_them_in_bfloat16(root):
    pytest.importorskip("libtpu")  # of jax[tpu]; it needs no TPU
    described = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4")
    config = narrow_config(root)
    config.model.dtype, config.data.crop_size, config.training.batch_size = "bfloat16", CROP, 8
    program = TrainingProgram(
        segmentation, config, DatasetClasses.numbered(CLASSES), create_mesh(described.devices)
    )
    step = program.compile()
    collectives = read_collectives(step.largest.as_text())
    assert len(carrying(collectives, 0.9)) == 1  # the gradients leave together
    # Those of kernels are summed in the precision that they are computed in.
    parameters = float32_bytes(program.shapes[0].params)
    assert 0.5 < sum(c.total_bytes for c in collectives) / parameters < 0.7
    assert step.memory.peak > parameters
    assert step.largest.cost_analysis()["bytes accessed"] > step.memory.arguments
