"""The benchmark of a detector's training step; beside torchvision's where that is installed."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from benchmarks import detection_training
from benchmarks.detection_training import WHOLE
from benchmarks.detection_training_parts import OPTIMIZER, REGIONS
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.training.program import TrainingProgram

MASK_RCNN = "configs/coco/mask-rcnn_r50_fpn_1x_coco.py"
CASCADE = "configs/coco/cascade-mask-rcnn_x101-32x4d_fpn_1x_coco.py"
SMALL = {
    "training.batch_size": 2,
    "data.name": "",
    "data.base_scale": (96, 64),
    "data.max_objects": 12,
    "model.rpn.train.nms_pre": 200,
    "model.rpn.train.max_per_image": 100,
    "model.box_head.train.samples": 16,
}
NARROW = {
    "model.backbone.depth": 18,
    "model.backbone.base_channels": 4,
    "model.neck.channels": 8,
    "model.rpn.channels": 8,
    "model.box_head.channels": 8,
    "model.mask_head.channels": 8,
    "model.mask_head.convolutions": 1,
}
HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None


def arguments(root, values):
    changed = [f"--config.{key}={value}" for key, value in values.items()]
    return [f"--config={root / MASK_RCNN}", *changed, "--rounds=2"]


def measured(process, output):
    """What was written, and the seconds of each part by way."""
    assert process.returncode == 0, process.stderr
    result = json.loads(output.read_text())
    assert (result["batch_size"], result["size"]) == (2, [64, 96])
    seconds = {}
    for row in result["rows"]:
        seconds.setdefault(row["part"], {})[row["way"]] = row["seconds_of_rounds"]
        assert len(row["seconds_of_rounds"]) == 2
        assert row["least_seconds"] == min(row["seconds_of_rounds"]) > 0
    assert next(iter(seconds)) == WHOLE
    assert set(seconds) >= {REGIONS, OPTIMIZER}
    for part in seconds:
        assert part in process.stdout
    return result, seconds


class Parts:
    """Parts that take no time."""

    def __init__(self, model, batch, optimizer):
        self.parts = dict.fromkeys([REGIONS, OPTIMIZER], dict)
        self.losses = {"mask_loss": 1.0}

    def facts(self):
        return {"proposals": 3}


class Program(TrainingProgram):
    """A step that computes nothing, for batches of the same shapes."""

    def __init__(self, *of):
        super().__init__(*of)
        self.step = jax.jit(lambda state, batch: (state, {"loss": batch["size"].sum()}))


def test_a_detectors_step_takes_turns_with_its_parts(benchmark, root, tmp_path, monkeypatch):
    monkeypatch.setattr(detection_training, "DetectorTrainingParts", Parts)
    monkeypatch.setattr(detection_training, "TrainingProgram", Program)
    monkeypatch.setattr(detection_training, "draw_batch", lambda *of: of[1].random_batch())
    output = tmp_path / "train.json"
    process = benchmark("train", *arguments(root, SMALL | NARROW), f"--output={output}")
    result, seconds = measured(process, output)
    assert set(seconds) == {WHOLE, REGIONS, OPTIMIZER}
    assert result["facts"] == {"gcnet_jax": {"proposals": 3}}
    assert "3 proposals" in process.stderr


@pytest.mark.campaign
def test_a_detectors_step_is_measured_whole_and_by_part(benchmark, root, tmp_path):
    output = tmp_path / "train.json"
    process = benchmark("train", *arguments(root, SMALL | NARROW), f"--output={output}")
    result, seconds = measured(process, output)
    assert len(seconds) == 11
    facts = result["facts"]["gcnet_jax"]
    assert facts["sampled regions"] == 16
    assert facts["positive regions"] == 4  # a quarter: as many as there may be
    assert facts["sampled anchors"] == 256
    assert 0 < facts["proposals"] <= 100
    names = {"rpn_class_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss"}
    assert set(result["losses"]["gcnet_jax"]) == names
    assert all(0 < loss < 100 for loss in result["losses"]["gcnet_jax"].values())
    assert result["memory"]["peak"] > 0


@pytest.mark.skipif(not HAS_TORCHVISION, reason="torchvision is not installed")
@pytest.mark.slow
def test_torchvision_does_as_much_work_and_takes_turns(benchmark, root, tmp_path):
    output = tmp_path / "train.json"
    given = (*arguments(root, SMALL), "--peer=torchvision", f"--output={output}")
    process = benchmark("train", *given)
    result, seconds = measured(process, output)
    assert len(seconds) == 12
    for ours, theirs in zip(result["rows"][::2], result["rows"][1::2], strict=True):
        ratio = np.divide(theirs["seconds_of_rounds"], ours["seconds_of_rounds"])
        times = ours["times_as_fast_as"]["torchvision"]
        assert times["median"] == pytest.approx(np.median(ratio))
    ours, theirs = (result["facts"][way] for way in ("gcnet_jax", "torchvision"))
    for name in ("sampled anchors", "sampled regions", "positive regions"):
        assert ours[name] == theirs[name]


@pytest.mark.parametrize(
    ("config", "given", "says"),
    [
        (CASCADE, [], "`train` measures Mask R-CNN; expected the config of a detector with one"),
        (MASK_RCNN, ["--config.model.mask_head.enabled=False"], "and masks"),
        (MASK_RCNN, ["--config.training.accumulation_steps=2"], "accumulation_steps 1, not 2"),
        (MASK_RCNN, ["--peer=openmmlab"], "expected --peer=torchvision"),
    ],
)
def test_what_is_not_measured_is_refused(fails, root, config, given, says):
    fails("train", f"--config={root / config}", *given, says=says)


def test_detectors_are_measured_on_one_device(benchmark, root):
    process = benchmark("train", f"--config={root / MASK_RCNN}", devices=2)
    assert process.returncode == 1
    assert "on one device; JAX has 2" in process.stderr


@pytest.mark.parametrize(
    ("key", "value"), [("model.backbone.norm_eval", False), ("model.dtype", "bfloat16")]
)
def test_what_torchvision_computes_otherwise_is_not_compared(root, key, value):
    config = load_config(root / MASK_RCNN)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=rf"--peer=torchvision: {key} is {value}"):
        detection_training.check_measurable(config, peer=True)
