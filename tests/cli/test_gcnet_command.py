"""The installed command, what it lists, and runs that bring their config along."""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from gcnet_jax.cli import gcnet as gcnet_command
from gcnet_jax.cli import list as list_command
from gcnet_jax.cli.gcnet import VERBS
from gcnet_jax.cli.help_texts import help_of, help_of_config
from gcnet_jax.config import find_config, leaves, library_configs, to_plain
from gcnet_jax.tasks import schemas
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import prepare
from gcnet_jax.training import read_rows


def gcnet(*arguments, folder):
    """Runs `python -m gcnet_jax` as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "gcnet_jax", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )


# Of the command line alone, without the work that follows.
ANSWERED_AT_ONCE = [
    ["--help"],
    *([verb, "--help"] for verb in VERBS),
    ["train", "--help_config"],
    ["train", "--config=context_shapes/gcnet", "--print_config"],
    ["train", "--config=no_such_config"],
    ["train", "--no_such_option"],
    ["evaluate", "--config=context_shapes/gcnet", "--config.seed=-1"],
    ["evaluate", "no_such_run"],
    ["predict", "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"],
    ["predict", "checkpoint", "photo.jpg"],
]

OF_A_CHECKOUT = ("benchmarks.command", "scripts.collect_results", "tests.faults.campaign")
"""The modules of commands that are not installed, whose help must come as fast."""


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["list", "configs"]])
def test_a_reader_that_goes_away_is_no_error(arguments, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "gcnet_jax", *arguments],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert done.stderr == ""


def test_help_and_wrong_command_lines_import_nothing_slow(root, tmp_path, slow_to_import):
    (tmp_path / "checkpoint" / "metadata").mkdir(parents=True)
    metadata = {"config": to_plain(default_config())}
    (tmp_path / "checkpoint" / "metadata" / "metadata").write_text(json.dumps(metadata))
    program = f"""
import importlib, sys
from gcnet_jax.cli import gcnet
slow, found = {slow_to_import}, {{}}
for arguments in {ANSWERED_AT_ONCE}:
    if arguments == ["--help"]:
        print(gcnet._help())
    else:
        importlib.import_module("gcnet_jax.cli." + arguments[0]).main(arguments[1:])
    print("imported by", *arguments, [name for name in slow if name in sys.modules])
for module in {OF_A_CHECKOUT}:
    importlib.import_module(module).main(["--help"])
    print("imported by", module, [name for name in slow if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("imported by")]
    assert len(lines) == len(ANSWERED_AT_ONCE) + len(OF_A_CHECKOUT)
    assert [line for line in lines if not line.endswith("[]")] == []
    assert all(f"  {verb}" in done.stdout for verb in VERBS)


@pytest.mark.parametrize(("columns", "widest"), [(60, 60), (None, 80), (300, 100)])
def test_help_is_as_wide_as_the_terminal(monkeypatch, columns, widest):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
    modules = {verb: importlib.import_module(f"gcnet_jax.cli.{verb}") for verb in VERBS}
    helps = [gcnet_command._help(), help_of_config()]
    helps += [help_of(x.__name__, x._OPTIONS) for x in modules.values()]
    # Commands to copy are as they are, and so are the defaults of keys.
    lines = [x for text in helps for x in text.splitlines()]
    wrapped = [x for x in lines if not re.match(r"    +(gcnet|curl|http|--)|  [\w.]+ = ", x)]
    assert widest - 8 < max(map(len, wrapped)) <= widest
    assert max(len(line) for line in lines if re.match("    +(gcnet|curl|http|--)", line)) <= 80


def test_every_key_of_a_config_is_described_by_help_config(command):
    done = command("train", "--help_config")
    assert done.returncode == 0, done.stderr
    for key, leaf in leaves(schemas()["segmentation"].section):
        said = " ".join(f"{key} = {leaf.default!r} {leaf.about} (".split())
        assert said in " ".join(done.stdout.split())
        assert leaf.about
    assert "data.crop_size" not in command("train", "--help").stdout


def test_the_config_that_is_printed_is_that_of_the_run_and_can_be_read_again(command, tmp_path):
    chosen = ("--config=context_shapes/gcnet", "--config.data.crop_size=(32,48)")
    done = command("train", *chosen, "--print_config")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "printed.json"
    file.write_text(done.stdout)
    expected = load_config(find_config("context_shapes/gcnet"))
    expected.data.crop_size = (32, 48)
    assert to_plain(load_config(file)) == to_plain(expected)
    assert command("train", f"--config={file}", "--print_config").stdout == done.stdout


def test_a_verb_that_there_is_not_is_answered_with_what_was_meant(tmp_path):
    done = gcnet("evalute", folder=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: gcnet has no verb 'evalute' (did you mean 'evaluate'?); exp")


def test_it_does_what_the_verb_does_and_ends_with_its_status(tmp_path):
    done = gcnet("train", "--config=context_shapes/gcnet", "--workdir=run", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: data set 'context_shapes' is not prepared in data")


def test_configs_data_weights_and_runs_are_listed(command, shapes_dir, trained):
    configs = command("list", "configs", f"--data_dir={shapes_dir}")
    assert configs.returncode == 0, configs.stderr
    rows = {line.split()[0]: line.split()[1:] for line in configs.stdout.splitlines()}
    run = "gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
    assert rows[run] == ["segmentation", "cityscapes", "77.69", "/", "78.56"]
    assert rows["context_shapes/fcn"] == ["segmentation", "context_shapes", "yes"]
    assert rows["folder/small"] == ["segmentation", "(your", "own)"]
    data = command("list", "data", f"--data_dir={shapes_dir}").stdout.splitlines()
    of_shapes = "context_shapes segmentation yes train 600, val 100, test 200"
    assert of_shapes in [" ".join(line.split()) for line in data]
    weights = command("list", "weights").stdout.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in weights}
    assert rows[run.partition("/")[2]] == ["segmentation", "77.69", "/", "78.56"]
    assert rows["resnet50_v1c"] == ["(a", "backbone)"]
    scores = [row["mIoU"] for row in read_rows(trained) if "mIoU" in row]
    assert len(scores) == 2
    best = [
        "mIoU",
        f"{100 * max(scores):.2f}",
        "(val,",
        "step",
        f"{15 * (1 + scores.index(max(scores)))})",
    ]
    runs = command("list", "runs", f"--runs={trained.parent}").stdout.splitlines()
    network = ["resnet18-d8", "+", "global_context"]
    expected = ["run", "segmentation", "context_shapes", *network, "30", "of", "30", *best]
    assert runs[1].split() == expected


def listed_on_terminal(columns, *arguments, capsys, monkeypatch):
    """The lines that `gcnet list` prints on a terminal of so many columns, without its styles."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # which is what rich takes for a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    assert list_command.main(arguments) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("columns", [60, 80])
def test_a_table_too_wide_for_the_terminal_becomes_lines_that_are_not(
    columns, shapes_dir, capsys, monkeypatch
):
    given = ("configs", f"--data_dir={shapes_dir}")
    lines = listed_on_terminal(columns, *given, capsys=capsys, monkeypatch=monkeypatch)
    assert max(map(len, lines)) <= columns
    names = list(library_configs())
    # The longest names alone are wider than 60 columns, and go on in the next line.
    assert "".join(line for line in lines if not line.startswith(" ")) == "".join(names)
    of_shapes = lines[lines.index("context_shapes/fcn") + 1]
    assert of_shapes.strip().startswith("task: segmentation; data set: context_shapes")
    monkeypatch.delenv("FORCE_COLOR")
    assert list_command.main(given) == 0
    whole = capsys.readouterr().out.splitlines()
    assert len(whole) == 1 + len(names)  # whoever else reads it wants whole lines
    assert [line for line in whole if line != line.rstrip()] == []


def test_networks_of_runs_go_by_the_names_of_their_kinds(tmp_path, capsys):
    config = load_config(find_config("coco/mask-rcnn_x101-32x4d-syncbn-gcb-r4-c3-c5_fpn_1x_coco"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"config": to_plain(config)}))
    (tmp_path / "run" / "checkpoints").mkdir()
    assert list_command.main(["runs", f"--runs={tmp_path}"]) == 0
    network = "resnext101-32x4d-d32 + global_context in the backbone"
    assert network in " ".join(capsys.readouterr().out.split())


def test_a_terminal_that_is_wide_enough_shows_the_same_table(capsys, monkeypatch):
    shown = listed_on_terminal(200, "weights", capsys=capsys, monkeypatch=monkeypatch)
    monkeypatch.delenv("FORCE_COLOR")
    assert list_command.main(["weights"]) == 0
    assert capsys.readouterr().out.splitlines() == shown


def test_of_a_config_it_is_listed_which_of_its_splits_are_prepared(command, tmp_path):
    prepare("context_shapes", tmp_path, splits=["val"])
    listed = command("list", "configs", f"--data_dir={tmp_path}").stdout
    (line,) = (line for line in listed.splitlines() if line.startswith("context_shapes/fcn "))
    assert line.endswith(" val only")


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        ([], "nothing given; expected 'configs' or 'data'", 2),
        (["config"], "config given; expected", 2),
        (["runs", "--runs=nowhere"], "there is no folder nowhere", 1),
    ],
)
def test_what_cannot_be_listed_is_refused(fails, arguments, says, code):
    fails("list", *arguments, says=says, code=code)


def test_damaged_runs_and_data_sets_hide_no_others(trained, shapes_dir, command, tmp_path):
    shutil.copytree(trained, tmp_path / "runs" / "whole")
    shutil.copytree(trained, tmp_path / "runs" / "bad")
    (tmp_path / "runs" / "bad" / "config.json").write_text('{"config": {}}')
    listed = command("list", "runs", f"--runs={tmp_path / 'runs'}")
    assert listed.returncode == 0, listed.stderr
    assert "(config.json is damaged)" in listed.stdout
    assert "whole" in listed.stdout
    shutil.copytree(shapes_dir / "context_shapes", tmp_path / "data" / "mine")
    (contents,) = (tmp_path / "data" / "mine").glob("*/contents.json")
    contents.write_text("{")
    listed = command("list", "data", f"--data_dir={tmp_path / 'data'}")
    assert listed.returncode == 0, listed.stderr
    assert "damaged" in listed.stdout


@pytest.mark.parametrize("module", ["ml_collections", "jax"])  # of the verb, and of its work
def test_ctrl_c_while_a_verb_is_imported_ends_it_without_a_traceback(tmp_path, module):
    reached = tmp_path / "reached"
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / f"{module}.py").write_text(
        f"import pathlib, time\npathlib.Path({str(reached)!r}).touch()\ntime.sleep(300)\n"
    )
    path = os.pathsep.join([str(tmp_path / "slow"), os.environ.get("PYTHONPATH", "")])
    arguments = ("train", "--config=context_shapes/gcnet", "--workdir=run")
    started = subprocess.Popen(
        [sys.executable, "-m", "gcnet_jax", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while started.poll() is None and not reached.exists():
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == -signal.SIGINT, errors
    assert errors == ""


def test_ctrl_c_while_a_command_line_is_read_ends_it_without_a_traceback(tmp_path, command):
    config = tmp_path / "config.py"
    config.write_text("raise KeyboardInterrupt\n")
    done = command("train", f"--config={config}", f"--workdir={tmp_path / 'run'}")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
