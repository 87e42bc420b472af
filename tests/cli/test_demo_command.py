"""What `gcnet demo` shows, and how it says that it cannot."""

import io
import json
import os
import threading
import zipfile
from socket import gethostname
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from etils import epath
from PIL import Image
from starlette.testclient import TestClient

from gcnet_jax.cli import shown_runs
from gcnet_jax.tasks.configs import from_plain
from gcnet_jax.tasks.runs import load
from gcnet_jax.tasks.segmentation.data import DATA_SETS


def make_run(folder, time=0):
    """What training leaves that has saved a checkpoint, as far as it is looked for."""
    (folder / "checkpoints" / "10").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    os.utime(folder, (time, time))


def test_a_trained_run_is_served_with_its_held_out_images_and_its_attention(
    command, trained, monkeypatch
):
    asked = {}

    def serve(application, listening, *, ready):
        ready()
        client = TestClient(application, base_url="http://127.0.0.1")
        asked["networks"] = client.get("/networks").json()
        example = client.get("/examples/0.png").content
        asked["image"] = Image.open(io.BytesIO(example))
        asked["result"] = client.post("/networks/0/result.json", content=example).json()
        lines = client.post(
            "/networks/0/attention?block=decode_head.context", content=example
        ).text.splitlines()
        asked["attention"] = json.loads(lines[-1])
        listening.close()

    monkeypatch.setattr("gcnet_jax.serving.serve", serve)
    finished = command("demo", trained, "--port=0")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "open http://127.0.0.1:" in finished.stdout
    assert finished.stdout.endswith("\nstopped\n")
    assert asked["networks"]["networks"] == [{"name": "run", "blocks": ["decode_head.context"]}]
    assert asked["networks"]["examples"] == 6
    assert asked["image"].size == (128, 64)
    assert sum(x["share"] for x in asked["result"]["classes"]) == pytest.approx(1)
    assert np.mean(asked["attention"]["weights"]) == pytest.approx(1, abs=1e-3)


def test_a_file_of_a_stranger_does_not_choose_which_images_of_this_machine_are_shown(
    trained, tmp_path
):
    config = from_plain(json.loads((trained / "config.json").read_text())["config"])
    file = tmp_path / "network.gcnet"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", "{}")

    def served(source):
        return SimpleNamespace(network=SimpleNamespace(config=config, source=epath.Path(source)))

    assert len(shown_runs.examples_of([served(trained)])) == 6
    assert shown_runs.examples_of([served(file)]) == []
    assert len(shown_runs.examples_of([served(file), served(trained)])) == 6


def test_a_config_does_not_choose_whom_this_machine_asks_for_images(trained, monkeypatch):
    config = from_plain(json.loads((trained / "config.json").read_text())["config"])
    config.data.data_dir = "gs://somebody/data"
    monkeypatch.setattr(DATA_SETS.__class__, "open_split", lambda *_: pytest.fail("it was asked"))
    served = SimpleNamespace(network=SimpleNamespace(config=config, source=epath.Path(trained)))
    assert shown_runs.examples_of([served]) == []


def test_where_the_images_of_a_run_are_not_found_it_says_so(trained, tmp_path, monkeypatch, capsys):
    config = from_plain(json.loads((trained / "config.json").read_text())["config"])
    config.data.data_dir = "data/of/another\x1b[2Jfolder"
    monkeypatch.chdir(tmp_path)
    served = SimpleNamespace(
        name="run", network=SimpleNamespace(config=config, source=epath.Path(trained))
    )
    assert shown_runs.examples_of([served]) == []
    said = capsys.readouterr().out
    assert said.startswith("no examples of run: ")
    assert "data/of/another\\x1b[2Jfolder" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("host", "examples"), [("127.0.0.1", ["private"]), ("0.0.0.0", [])])
def test_images_of_data_sets_are_shown_on_this_machine_alone(command, monkeypatch, host, examples):
    shown = []

    def serve(application, listening, *, ready):
        listening.close()

    def application(networks, examples, queue, limits):
        shown.extend(examples)
        return SimpleNamespace(starlette=lambda: None)

    monkeypatch.setattr("gcnet_jax.cli.shown_runs.load_networks", lambda runs: [])
    monkeypatch.setattr("gcnet_jax.cli.shown_runs.examples_of", lambda networks: ["private"])
    monkeypatch.setattr("gcnet_jax.serving.serve", serve)
    monkeypatch.setattr("gcnet_jax.serving.Application", application)
    assert command("demo", "some_run", "--port=0", f"--host={host}").returncode == 0
    assert shown == examples


@pytest.mark.parametrize(
    ("options", "address", "places", "limits"),
    [
        ([], "127.0.0.1", 16, (20_000_000, 24_000_000)),
        (["--host=0.0.0.0"], "0.0.0.0", 16, (20_000_000, 24_000_000)),
        (["--max_requests=3", "--max_bytes=7", "--max_pixels=9"], "127.0.0.1", 3, (7, 9)),
    ],
)
def test_it_listens_on_this_machine_alone_within_its_limits_unless_told_otherwise(
    command, monkeypatch, options, address, places, limits
):
    found = []

    def serve(application, listening, *, ready):
        found.append(listening.getsockname()[0])
        assert cv2.utils.logging.getLogLevel() == 0  # or strangers' photos are remarked upon
        ready()
        listening.close()

    def application(networks, examples, queue, limits):
        found.extend([queue.places, (limits.size, limits.pixels)])
        return SimpleNamespace(starlette=lambda: None)

    monkeypatch.setattr("gcnet_jax.cli.shown_runs.load_networks", lambda runs: [])
    monkeypatch.setattr("gcnet_jax.cli.shown_runs.examples_of", lambda networks: [])
    monkeypatch.setattr("gcnet_jax.serving.serve", serve)
    monkeypatch.setattr("gcnet_jax.serving.Application", application)
    finished = command("demo", "some_run", "--port=0", *options)
    assert finished.returncode == 0
    assert found == [places, limits, address]
    warning = f"whoever can reach this machine can use this server, at http://{gethostname()}:"
    assert (warning in finished.stdout) == (address == "0.0.0.0")


@pytest.mark.parametrize(
    ("window", "blocks"), [((63, 128), []), ((64, 64), ["decode_head.context"])]
)
def test_maps_are_not_offered_where_no_image_fits_into_a_window(trained, window, blocks):
    network = load(trained)
    network.config.evaluation.mode, network.config.evaluation.window = "slide", window
    maps = shown_runs._attention_of(network)
    assert ([] if maps is None else list(maps.blocks)) == blocks


@pytest.mark.parametrize(
    "where", ["gcnet_jax.cli.shown_runs.examples_of", "gcnet_jax.serving.serve"]
)
def test_ctrl_c_ends_it_at_any_time(command, monkeypatch, where):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gcnet_jax.cli.shown_runs.load_networks", lambda runs: [])
    monkeypatch.setattr("gcnet_jax.cli.shown_runs.examples_of", lambda networks: [])
    monkeypatch.setattr(where, interrupted)
    finished = command("demo", "some_run", "--port=0")
    assert (finished.returncode, finished.stderr) == (130, "interrupted\n")
    assert "stopped" not in finished.stdout
    assert "networks" not in [thread.name for thread in threading.enumerate()]


def test_the_newest_runs_of_the_first_folder_that_has_any_are_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "quickstart" / "runs" / "gcnet")
    make_run(tmp_path / "quickstart" / "runs" / "fcn")
    (tmp_path / "quickstart" / "runs" / "notes").mkdir()
    assert shown_runs.runs_to_show() == ["quickstart/runs/fcn", "quickstart/runs/gcnet"]
    for number in range(6):
        make_run(tmp_path / "runs" / f"run{number}", time=100 + number)
    assert shown_runs.runs_to_show() == [f"runs/run{number}" for number in (2, 3, 4, 5)]
    assert "6 runs; the newest 4 are shown" in capsys.readouterr().out


def test_without_any_run_it_says_how_to_get_one(command, tmp_path):
    (tmp_path / "runs" / "begun" / "checkpoints").mkdir(parents=True)  # and nothing saved
    (tmp_path / "runs" / "begun" / "config.json").write_text("{}")
    finished = command("demo", folder=tmp_path)
    assert finished.returncode == 2
    assert "`gcnet quickstart` trains two" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_without_its_extra_it_says_in_one_line_what_to_install(command, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    finished = command("demo", "some_run")
    assert finished.returncode == 2
    assert "pip install 'gcnet-jax[demo]'" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_what_is_no_run_is_refused_in_one_line(fails):
    fails("demo", "no_such_run", "--port=0", says="there is no file or folder")


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["one/best", "two/best/"], ["one/best", "two/best"]),
        (["x"], ["x"]),
        (["same", "same"], ["same", "same"]),
        (["/runs/a\x1b[2J"], ["a\\x1b[2J"]),
    ],
)
def test_runs_are_named_by_what_tells_them_apart(runs, names):
    assert shown_runs._short_names(runs) == names
