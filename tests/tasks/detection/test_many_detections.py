"""Evaluations of many images with many detections: their time and memory on the host."""

import json
import subprocess
import sys

import pytest

from tests.tasks.detection import many_detections


def test_detections_of_some_images_take_hundreds_of_bytes_each():
    found = many_detections.measure(9)
    assert found["detections"] == 9 * 100
    assert 20 < found["bytes of masks a detection"] < 600
    assert 0.05 < found["AP"]["box"] < 0.5
    assert 0.05 < found["AP"]["mask"] < 0.5


@pytest.mark.campaign
def test_5000_images_with_100_detections_each_end_within_2_GiB(root):
    command = [sys.executable, "-m", "tests.tasks.detection.many_detections", "5000"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["detections"] == 500_000
    assert max(found["peak GiB by the end"].values()) < 2
