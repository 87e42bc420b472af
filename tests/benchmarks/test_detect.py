"""The benchmark of a detector; beside torchvision's where that is installed."""

import importlib.util
import json

import numpy as np
import pytest

from benchmarks import detection, detection_operators
from benchmarks.detection import WHOLE
from benchmarks.detection_operators import (
    Amounts,
    Operator,
    draw_regions,
    operators,
    samples_of_bins,
)
from benchmarks.detection_parts import NETWORKS
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection import config
from gcnet_jax.tasks.detection.boxes.suppression import Kept

SEGMENTATION = "configs/gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
SMALL = ("--size=40,60", "--images=2", "--rounds=2")
FEW = {
    "rpn.test.nms_pre": 20,
    "rpn.test.max_per_image": 12,
    "box_head.train.samples": 6,
    "test.max_per_image": 4,
}
NARROW = {
    "backbone.depth": 18,
    "backbone.base_channels": 4,
    "neck.channels": 8,
    "rpn.channels": 8,
    "box_head.channels": 8,
    "mask_head.channels": 8,
    "mask_head.convolutions": 1,
}
HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None
needs_torchvision = pytest.mark.skipif(not HAS_TORCHVISION, reason="torchvision is not installed")


@pytest.fixture
def without_config(monkeypatch):
    """`without_config(values)`: changes the config that is measured if none is given."""

    def change(values):
        changed = config.default_config()
        changed.model.update_from_flattened_dict(values)
        monkeypatch.setattr(config, "default_config", lambda: changed)

    return change


def check_measured(process, output):
    assert process.returncode == 0, process.stderr
    result = json.loads(output.read_text())
    assert result["size"] == [40, 60]
    assert len(result["load_averages"]) == 2
    (batch,) = result["batches"]
    seconds = {row["part"]: row["seconds_of_rounds"] for row in batch["rows"]}
    assert next(iter(seconds)) == WHOLE
    assert set(seconds) > NETWORKS
    assert all(len(times) == 2 and min(times) > 0 for times in seconds.values())
    medians = {name: np.median(times) for name, times in seconds.items() if name != WHOLE}
    rest = sum(median for name, median in medians.items() if name not in NETWORKS)
    assert batch["share_of_rest"]["gcnet_jax"] == pytest.approx(rest / sum(medians.values()))
    names = [row["part"] for row in result["operators"]]
    for name in (*seconds, *names):
        assert name in process.stdout
    return batch["facts"], names


class Parts:
    """Parts that take no time."""

    def __init__(self, model, images, sizes):
        assert images.shape == (2, 64, 64, 3)
        assert (sizes == [40, 60]).all()
        self.whole = dict
        self.parts = dict.fromkeys([*sorted(NETWORKS), "proposals"], dict)

    def facts(self):
        return {"proposals": 3}


def test_the_detector_is_measured_whole_by_part_and_by_operator(
    benchmark, tmp_path, without_config, monkeypatch
):
    without_config(FEW | NARROW)
    monkeypatch.setattr(detection, "DetectorParts", Parts)
    nms = {"NMS": Operator(dict, None, {"boxes": 5})}
    monkeypatch.setattr(detection, "operators", lambda amounts, peer: nms)
    output = tmp_path / "detect.json"
    process = benchmark("detect", *SMALL, f"--output={output}")
    assert check_measured(process, output) == ({"proposals": 3}, ["NMS"])


@pytest.mark.campaign
def test_random_weights_let_through_as_many_as_there_may_be(benchmark, tmp_path, without_config):
    without_config(FEW | NARROW)
    output = tmp_path / "detect.json"
    facts, names = check_measured(benchmark("detect", *SMALL, f"--output={output}"), output)
    assert facts["proposals"] == 12
    assert facts["detections"] == 4
    assert facts["pairs_of_box_and_class"] > 12
    assert names == [
        "RoIAlign of 12, forward",
        "RoIAlign of 6, with gradient",
        "NMS of 5 x 20",
        "NMS in 80 classes, best 4",
        "deformable convolution, forward",
        "deformable convolution, with gradient",
    ]


@needs_torchvision
@pytest.mark.slow
def test_torchvision_computes_the_same_and_takes_turns(benchmark, tmp_path, without_config):
    without_config(FEW)
    output = tmp_path / "detect.json"
    process = benchmark("detect", *SMALL, "--peer=torchvision", f"--output={output}")
    assert process.returncode == 0, process.stderr
    result = json.loads(output.read_text())
    (batch,) = result["batches"]
    assert batch["facts_of_torchvision"]["proposals"] == batch["facts"]["proposals"]
    assert batch["facts_of_torchvision"]["detections"] == batch["facts"]["detections"]
    rows = [*batch["rows"], *result["operators"]]
    for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
        assert ours["part"] == theirs["part"]
        first, second = (np.array(row["seconds_of_rounds"]) for row in (ours, theirs))
        ratio = ours["times_as_fast_as"]["torchvision"]["median"]
        assert ratio == pytest.approx(np.median(second / first))


@needs_torchvision
def test_the_operators_are_torchvisions():
    operators(Amounts((70, 100), 8, 20, 12, 30, 6, 8), peer=True)


def test_peers_that_cannot_take_part_are_refused(fails, root):
    fails("detect", "--peer=openmmlab", says="expected --peer=torchvision")
    segmentation = f"--config={root / SEGMENTATION}"
    says = "--peer=torchvision is for `detect`"
    fails("train", segmentation, "--peer=torchvision", says=says, code=2)
    if not HAS_TORCHVISION:
        fails("detect", "--peer=torchvision", says="torchvision is not installed")


def test_what_is_no_mask_rcnn_is_refused(fails, root, without_config):
    says = "`detect` measures Mask R-CNN; expected the config of a detector"
    fails("detect", f"--config={root / SEGMENTATION}", says=says)
    without_config({"mask_head.enabled": False})
    fails("detect", says=says)


def test_regions_are_of_all_levels_and_many_need_more_than_two_samples():
    boxes = draw_regions(1000, (800, 1333))
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes >= 0).all()
    assert (boxes <= [1333, 800, 1333, 800]).all()
    levels = np.asarray(detection_operators.region_levels(boxes))
    assert (np.bincount(levels) > 50).all()
    samples = samples_of_bins(boxes, levels)
    assert 0.4 < (samples > 2).mean() < 0.8


class Tensor(np.ndarray):
    def numpy(self):
        return np.asarray(self)


def test_operators_that_do_not_agree_are_not_compared():
    ours, kept = np.ones(4), Kept(np.array([3, 1, 0]), np.array([True, True, False]))
    detection_operators.check("RoIAlign", ours, (ours * 1.00009).view(Tensor))
    detection_operators.check("NMS", kept, np.array([3, 1]).view(Tensor))
    with pytest.raises(InputError, match="RoIAlign: results deviate from torchvision's by 2"):
        detection_operators.check("RoIAlign", ours, (ours * 1.0002).view(Tensor))
    with pytest.raises(InputError, match="NMS: torchvision keeps other boxes"):
        detection_operators.check("NMS", kept, np.array([1, 3]).view(Tensor))
