"""What `--config` takes, and what is said of values that a run cannot have."""

import json

import pytest

from gcnet_jax.config import to_plain
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.config import default_config

SHAPES = "configs/context_shapes/gcnet.py"


@pytest.fixture
def shapes(root):
    return f"--config={root / SHAPES}"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.crop_size=(-64,96)", "data.crop_size is (-64, 96); expected 2 numbers, each 1 or"),
        ("data.crop_size=(0,0)", "data.crop_size is (0, 0); expected 2 numbers, each 1 or more"),
        ("data.scale_range=(0,0)", "data.scale_range is (0, 0); expected 2 numbers"),
        ("data.num_workers=-1", "data.num_workers is -1; expected 0 or more"),
        ("data.flip_probability=7", "data.flip_probability is 7.0; expected a number from 0 to 1"),
        ("optimizer.learning_rate=-0.1", "optimizer.learning_rate is -0.1; expected a number"),
        ("optimizer.momentum=1.5", "optimizer.momentum is 1.5; expected a number from 0 to 1"),
        ("optimizer.power=-1", "optimizer.power is -1.0; expected a number from 0 to 100"),
        ("optimizer.weight_decay=-5", "optimizer.weight_decay is -5.0; expected a number"),
        ("model.dtype=float16", "model.dtype is 'float16'; expected 'float32' or 'bfloat16'"),
        ("model.decode_head.dropout_rate=nan", "model.decode_head.dropout_rate is nan; expected"),
        ("evaluation.scales=(1.0,float('nan'))", "evaluation.scales"),
        ("seed=-1", "seed is -1; expected 0 or more"),
        ("training.total_steps=9223372036854775808", "training.total_steps is 92233720368547758"),
    ],
)
def test_values_that_mean_nothing_are_named_before_anything_is_written(
    command, shapes, tmp_path, override, says
):
    done = command("train", shapes, f"--config.{override}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not (tmp_path / "run").exists()


def test_of_a_tuple_that_is_given_twice_the_last_counts(command, shapes, tmp_path):
    twice = ["--config.data.crop_size=(5,5)", "--config.data.crop_size=(0,7)"]
    done = command("train", shapes, *twice, f"--workdir={tmp_path / 'run'}")
    assert "data.crop_size is (0, 7)" in done.stderr


def test_a_config_without_a_return_is_told_so(command, tmp_path):
    (tmp_path / "run.py").write_text(
        "from gcnet_jax.tasks.segmentation.config import default_config\n\n"
        "def get_config():\n    config = default_config()\n    config.seed = 3\n"
    )
    for overrides in ([], ["--config.seed=4"]):
        done = command("train", f"--config={tmp_path / 'run.py'}", *overrides, "--workdir=x")
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "run.py: get_config returns a NoneType: it has no `return config`" in line


def written_by_a_run(folder, config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"config": to_plain(config), "classes": {}}))
    return folder / "config.json"


def test_the_config_of_a_run_is_a_config_with_overrides(command, root, tmp_path):
    config = load_config(root / SHAPES)
    config.data.data_dir = str(tmp_path / "nowhere")
    file = written_by_a_run(tmp_path / "lr:0.3", config)
    done = command("train", f"--config={file}", f"--workdir={tmp_path / 'run'}")
    assert f"'context_shapes' is not prepared in {tmp_path / 'nowhere'}" in done.stderr
    done = command("train", "--config.seed=-2", f"--config={file}", f"--workdir={tmp_path}")
    assert "seed is -2" in done.stderr


def test_the_config_of_a_run_names_no_code(command, tmp_path):
    config = default_config()
    config.model.decode_head.context.block = "antigravity:X"
    file = written_by_a_run(tmp_path / "run", config)
    done = command("evaluate", f"--config={file}", f"--workdir={tmp_path}")
    assert done.returncode == 2
    assert "must not choose code to run" in done.stderr


def test_a_workdir_is_no_config_but_has_one(command, tmp_path):
    done = command("evaluate", f"--config={tmp_path}", f"--workdir={tmp_path}")
    assert done.returncode == 2
    assert f"is a folder; expected a file, such as {tmp_path / 'config.json'}" in done.stderr
