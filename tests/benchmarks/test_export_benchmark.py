"""The speed of exported files beside the network that they are of, and beside mmsegmentation's."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from benchmarks.export import Timed
from benchmarks.peer import peer_is_installed
from gcnet_jax.errors import InputError

CONFIG = "configs/gcnet/gcnet_r50-d8_4xb4-80k_ade20k-512x512.py"
NARROW = (
    "--config.model.backbone.base_channels=8",
    "--config.model.decode_head.channels=8",
    "--config.model.auxiliary_head.channels=8",
    "--size=64,128",
    "--images=2",
    "--rounds=2",
)
ONNX = all(importlib.util.find_spec(name) is not None for name in ("jax2onnx", "onnxruntime"))
OPENVINO = importlib.util.find_spec("openvino") is not None


def test_every_file_that_can_be_run_here_takes_turns_with_the_network(root, benchmark, tmp_path):
    output = tmp_path / "export.json"
    process = benchmark("export", f"--config={root / CONFIG}", *NARROW, f"--output={output}")
    assert process.returncode == 0, process.stderr
    result = json.loads(output.read_text())
    ways = {row["way"]: row["seconds_of_rounds"] for row in result["rows"]}
    expected = ["gcnet_jax", "the StableHLO file"]
    expected += ["the ONNX file, onnxruntime"] * ONNX
    expected += ["the ONNX file, OpenVINO"] * (ONNX and OPENVINO)
    assert list(ways) == expected
    _, file, *_ = result["rows"]
    ratios = np.divide(ways["gcnet_jax"], ways["the StableHLO file"])
    assert file["times_as_fast_as"]["gcnet_jax"]["median"] == pytest.approx(np.median(ratios))
    assert "times ours" in process.stdout


@pytest.mark.slow
@pytest.mark.skipif(not (peer_is_installed() and ONNX), reason="mmsegmentation is not installed")
def test_mmsegmentation_and_its_onnx_model_take_turns(root, benchmark, tmp_path):
    output = tmp_path / "export.json"
    arguments = (*NARROW, "--peer=openmmlab", f"--output={output}")
    process = benchmark("export", f"--config={root / CONFIG}", *arguments)
    assert process.returncode == 0, process.stderr
    ways = [row["way"] for row in json.loads(output.read_text())["rows"]]
    assert ways[-2:] == ["mmsegmentation", "mmsegmentation's ONNX file, onnxruntime"]
    assert "times theirs in ONNX" in " ".join(process.stdout.split())


def test_a_file_that_says_something_else_is_not_measured():
    batch = np.zeros((1, 4, 4, 3), np.uint8)
    classes = np.zeros((1, 4, 4), np.uint8)
    same = Timed("a file", lambda images: classes, batch, classes, "float32")
    assert same.seconds() >= 0
    other = classes.copy()
    other[0, 0, 0] = 1
    with pytest.raises(InputError, match=r"a file says the same of 93\.75% of the pixels"):
        Timed("a file", lambda images: jax.device_put(other), batch, classes, "float32")
