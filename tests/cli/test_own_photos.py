"""A user's own photos and masks, by the lines that the config for them gives."""

import json
import re
import shlex
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from gcnet_jax.config import find_config
from gcnet_jax.tasks.configs import load_config

# A network and a run of seconds.
TINY = (
    "--config.model.backbone.num_stages=1",
    "--config.model.backbone.base_channels=8",
    "--config.model.decode_head.stage=0",
    "--config.model.decode_head.channels=8",
    "--config.model.auxiliary_head.enabled=false",
    "--config.data.base_scale=(64,64)",
    "--config.data.crop_size=(32,32)",
    "--config.training.total_steps=40",
    "--config.training.evaluate_every=20",
    "--config.training.checkpoint_every=20",
    "--config.optimizer.learning_rate=0.3",
)
COLORS = np.array([(40, 40, 40), (40, 200, 40), (40, 40, 200)], np.uint8)  # of the three classes


@pytest.fixture
def plants(tmp_path):
    """A folder of photos of two sizes, with masks of their names."""
    for folder in ("images", "masks"):
        (tmp_path / "plants" / folder).mkdir(parents=True)
    for number in range(8):
        height, width = ((60, 80), (90, 55))[number % 2]
        mask = np.zeros((height, width), np.uint8)
        mask[height // 2 :, : width // 2] = 1
        mask[: height // 2, width // 3 :] = 2
        photo = f"{number}.{'jpg' if number % 2 else 'PNG'}"
        cv2.imwrite(str(tmp_path / "plants" / "images" / photo), COLORS[mask])
        cv2.imwrite(str(tmp_path / "plants" / "masks" / f"{number}.png"), mask)
    return tmp_path


def test_the_lines_of_the_readme_lead_from_photos_to_predictions(
    command, plants, root, monkeypatch
):
    readme = (root / "README.md").read_text()
    page = find_config("small").read_text().split('"""')[1]
    lines = re.findall(r"^    (\S.*(?:\n {8}.*)*)", page.replace("\\\\", "\\"), re.M)
    assert len(lines) == 5
    assert "".join(f"{line}\n" for line in lines).replace(" " * 8, " " * 4) in readme
    table, *lines = (line.replace("\\\n", " ") for line in lines)
    subprocess.run(table, shell=True, cwd=plants, check=True)
    printed = []
    for line in lines:
        gcnet, verb, *arguments = shlex.split(line)
        assert gcnet == "gcnet"
        tiny = TINY if verb == "train" else ()
        done = command(verb, *arguments, *tiny, folder=plants)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    train = "gcnet train --config=small:plants --workdir=runs/plants"
    assert f"train on it with: {train}\n" in printed[0]
    assert train in lines
    table = json.loads((plants / "runs" / "plants" / "evaluation_val.json").read_text())
    assert table["summary"]["mIoU"] > 0.5
    for number in range(8):
        label = cv2.imread(str(plants / "predictions" / f"{number}_label.png"), -1)
        mask = cv2.imread(str(plants / "plants" / "masks" / f"{number}.png"), -1)
        assert label.shape[:2] == mask.shape

    (example,) = re.findall(r'```python\n([^`]*load\("runs/plants"\).*?)```', readme, re.S)
    shutil.copy(plants / "plants" / "images" / "1.jpg", plants / "photo.jpg")
    monkeypatch.chdir(plants)
    exec(example, {})
    assert cv2.imread("out.png") is not None


def test_the_data_set_is_named_behind_the_config_or_by_its_key(fails, tmp_path):
    assert load_config(find_config("small"), "plants").data.name == "plants"
    assert load_config(find_config("folder/small")).data.name == ""
    workdir = f"--workdir={tmp_path / 'run'}"
    fails("train", "--config=small", workdir, says="expected --config.data.name=NAME, of one that")
    where = f"--config.data.data_dir={tmp_path}"
    for named in (["--config=small:moss"], ["--config=small", "--config.data.name=moss"]):
        fails("train", *named, where, workdir, says="data set 'moss' is not prepared in")


def test_an_empty_folder_of_data_is_refused(fails, tmp_path):
    given = ("--config=small:plants", "--config.data.data_dir=", f"--workdir={tmp_path / 'run'}")
    fails("train", *given, says="data.data_dir is ''; expected a folder, ")
    fails("prepare_dataset", "context_shapes", "--data_dir=", says="a path is empty; expected")


def test_the_next_command_knows_where_the_data_is(command, plants):
    (plants / "classes.csv").write_text("name\nbackground\nleaf\npot\n")
    patterns = ("--images=images/*", "--masks=masks/*", "--classes=classes.csv")
    arguments = ("folder", "--name=plants", "--source=plants", *patterns, "--data_dir=my data")
    done = command("prepare_dataset", *arguments, folder=plants)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("--workdir=runs/plants --config.data.data_dir='my data'\n")
