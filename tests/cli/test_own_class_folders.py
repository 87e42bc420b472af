"""A user's own photos in folders of their classes, by the lines that the config for them gives."""

import json
import re
import shlex

import cv2
import numpy as np
import pytest

import gcnet_jax
from gcnet_jax.config import find_config

# A network and a run of seconds.
TINY = (
    "--config.model.backbone.num_stages=1",
    "--config.model.backbone.base_channels=16",
    "--config.model.backbone.context.stages=(0,)",
    "--config.data.crop_size=32",
    "--config.data.resize_size=32",
    "--config.training.batch_size=16",
    "--config.training.total_steps=30",
    "--config.training.evaluate_every=30",
    "--config.training.checkpoint_every=30",
    "--config.optimizer.warmup_steps=0",
    "--config.training.pictures=0",
)
COLORS = {"daisy": (40, 40, 220), "rose": (40, 220, 40), "tulip": (220, 40, 40)}


@pytest.fixture
def flowers(tmp_path):
    """A folder with photos of two sizes in a folder for each class, which have a colour each."""
    noise = np.random.default_rng(0)
    for name, color in COLORS.items():
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for number in range(10):
            photo = np.full((*((40, 60), (56, 38))[number % 2], 3), color, np.uint8)
            photo += noise.integers(0, 30, photo.shape, np.uint8)
            cv2.imwrite(str(tmp_path / "flowers" / name / f"{number}.png"), photo)
    cv2.imwrite(str(tmp_path / "photo.jpg"), photo)  # of the last class
    return tmp_path


def test_the_lines_of_the_readme_lead_from_class_folders_to_predictions(
    command, flowers, root, monkeypatch
):
    readme = (root / "README.md").read_text()
    page = find_config("photos").read_text().split('"""')[1]
    lines = re.findall(r"^    (\S.*)", page, re.M)
    assert len(lines) == 4
    assert "".join(f"{line}\n" for line in lines) in readme
    printed = []
    for line in lines:
        gcnet, verb, *arguments = shlex.split(line)
        assert gcnet == "gcnet"
        tiny = TINY if verb == "train" else ()
        done = command(verb, *arguments, *tiny, folder=flowers)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert f"train on it with: {lines[1]}\n" in printed[0]
    again = command("evaluate", "runs/flowers", folder=flowers)
    assert again.returncode == 0, again.stderr
    table = json.loads((flowers / "runs" / "flowers" / "evaluation_val.json").read_text())
    assert table["images"] == 6
    assert table["summary"]["top-1"] > 0.8
    found = json.loads((flowers / "predictions" / "3_classes.json").read_text())
    assert found["class"] == "rose"

    (example,) = re.findall(r'`(gcnet_jax\.load\("runs/flowers"\).*?)`', readme)
    monkeypatch.chdir(flowers)
    likely = eval(example, {"gcnet_jax": gcnet_jax})
    assert next(iter(likely)) == "tulip"
    assert likely.keys() == COLORS.keys()
