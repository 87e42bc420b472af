import json

import cv2
import numpy as np
import pytest

from benchmarks.command import BENCHMARKS
from benchmarks.evaluation import check_agreement
from benchmarks.input_pipelines import STAGES, STORAGES, OurPipeline, write_source
from benchmarks.peer import peer_is_installed
from benchmarks.scenes import draw_scene
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS
from tests.commands import run_as_process

CONFIG = "configs/gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
SMALL = ("--size=48,96", "--images=2", "--rounds=3")
WITH_PEER = ("--peer=openmmlab",) if peer_is_installed() else ()
DATA = (
    "--config.data.base_scale=(96,48)",
    "--config.data.crop_size=(32,40)",
)


def test_the_input_benchmark_writes_speed_by_pipeline_storage_and_stage(root, benchmark, tmp_path):
    output = tmp_path / "new" / "input.json"
    arguments = (f"--config={root / CONFIG}", *SMALL, *DATA, *WITH_PEER, f"--output={output}")
    process = benchmark("input", *arguments)
    assert process.returncode == 0, process.stderr
    assert f"written to {output}" in process.stdout
    result = json.loads(output.read_text())
    assert result["benchmark"] == "input"
    assert result["size"] == [48, 96]
    assert result["data_config"]["crop_size"] == [32, 40]
    assert result["machine"]["processor"]

    names = ["gcnet_jax", "mmsegmentation"] if peer_is_installed() else ["gcnet_jax"]
    rows = {(row["pipeline"], row["storage"]): row for row in result["rows"]}
    assert list(rows) == [(name, storage) for name in names for storage in STORAGES]
    for (name, storage), row in rows.items():
        assert name in process.stdout
        assert storage in process.stdout
        assert len(row["seconds_of_rounds"]) == 3
        speeds = [2 / seconds for seconds in row["seconds_of_rounds"]]
        assert row["images_per_second"]["median"] == pytest.approx(np.median(speeds))
        stages = row["milliseconds_by_stage"]
        assert list(stages) == list(STAGES)
        assert all(0 <= milliseconds < 1000 for milliseconds in stages.values())
        # Their files are read while they are decoded.
        busy = set(STAGES) - ({"read"} if name == "mmsegmentation" else set())
        assert all(stages[stage] > 0 for stage in busy)
        assert ("times_as_fast_as_mmsegmentation_on_png" in row) == peer_is_installed()


@pytest.mark.parametrize("what", ["evaluation", "inference", "input", "train"])
def test_without_mmsegmentation_there_is_no_peer(fails, root, what):
    if peer_is_installed():
        pytest.skip("mmsegmentation is installed")
    config = f"--config={root / CONFIG}"
    fails(what, config, "--peer=openmmlab", says="mmsegmentation is not installed")


NARROW = (
    "--config.model.backbone.base_channels=4",
    "--config.model.backbone.depth=18",
    "--config.model.decode_head.channels=8",
    "--config.data.base_scale=(96,48)",
    "--config.evaluation.batch_size=2",
    "--config.evaluation.window=(32,64)",
    "--config.evaluation.window_stride=(16,32)",
    "--config.evaluation.scales=(0.5,1.0)",
)


@pytest.mark.campaign
def test_the_evaluation_benchmark_compares_every_mode_in_one_run(root, benchmark, tmp_path):
    output = tmp_path / "evaluation.json"
    arguments = (f"--config={root / CONFIG}", *SMALL, *NARROW, *WITH_PEER, f"--output={output}")
    process = benchmark("evaluation", *arguments)
    assert process.returncode == 0, process.stderr
    rows = json.loads(output.read_text())["rows"]
    ways = ["batches", "one by one"] + ["mmsegmentation"] * len(WITH_PEER)
    modes = ["whole", "slide", "scales+flips"]
    assert [(row["mode"], row["way"]) for row in rows] == [(m, w) for m in modes for w in ways]
    seconds = {(row["mode"], row["way"]): row["seconds_of_rounds"] for row in rows}
    for row in rows:
        times = seconds[row["mode"], row["way"]]
        assert row["images_per_second"]["median"] == pytest.approx(np.median(2 / np.array(times)))
        for way in set(ways) - {row["way"]}:
            ratios = np.array(seconds[row["mode"], way]) / times
            assert row["times_as_fast_as"][way]["median"] == pytest.approx(np.median(ratios))
        assert row["mode"] in process.stdout


def test_the_evaluation_benchmark_takes_a_split_of_a_prepared_set(
    root, benchmark, tmp_path, shapes_dir
):
    output = tmp_path / "evaluation.json"
    config = f"--config={root / 'configs/context_shapes/gcnet.py'}"
    data = (f"--config.data.data_dir={shapes_dir}", "--split=val", "--mode=whole")
    arguments = (config, *data, *NARROW[:3], *NARROW[4:5], "--rounds=1", f"--output={output}")
    process = benchmark("evaluation", *arguments)
    assert process.returncode == 0, process.stderr
    result = json.loads(output.read_text())
    assert result["images"] == DATA_SETS.split_size("context_shapes", shapes_dir, "val")
    assert [row["mode"] for row in result["rows"]] == ["whole", "whole"]


def test_the_inference_benchmark_writes_speed_and_memory(root, benchmark, tmp_path):
    output = tmp_path / "inference.json"
    arguments = (f"--config={root / CONFIG}", *SMALL, *NARROW[:3], f"--output={output}")
    process = benchmark("inference", *arguments)
    assert process.returncode == 0, process.stderr
    result = json.loads(output.read_text())
    (row,) = result["rows"]
    times = np.array(row["seconds_of_rounds"])
    assert len(times) == 3
    assert row["images_per_second"]["median"] == pytest.approx(np.median(2 / times))
    rate = row["model_flops_per_second_and_device"]["median"]
    assert rate == pytest.approx(np.median(row["model_flops"] / times))
    assert row["share_of_peak"] == pytest.approx(rate / result["measured_peak_flops"]["median"])
    assert row["compile_seconds"] > 0
    assert row["memory"]["peak"] > row["memory"]["arguments"] > 0
    assert "a large matrix product" in " ".join(process.stdout.split())


def test_networks_that_do_not_agree_are_not_compared():
    counts = {"one by one": np.diag([900, 100]), "batches": np.array([[890, 10], [0, 100]])}
    with pytest.raises(InputError, match=r"'batches' and 'one by one' agree on 99\.00%"):
        check_agreement("whole", counts, 0.999)
    check_agreement("whole", counts, 0.95)
    same = {"one by one": np.diag([9000, 1]), "batches": np.diag([9000, 1])}
    check_agreement("whole", same, 0.999)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            [],
            "nothing given; expected 'detect' or 'evaluation' or 'export' or 'growth' or "
            "'inference' or 'input' or 'loop' or 'memory' or 'predict' or 'serving' or "
            "'startup' or 'train'",
        ),
        (["input", "output"], "input output given; expected 'detect' or 'evaluation' or"),
        (["input"], "--config=NAME or FILE is required"),
    ],
)
def test_what_cannot_be_measured_is_refused(fails, arguments, says):
    fails(*arguments, says=says, code=2)


def test_sizes_and_outputs_that_cannot_be_are_refused(fails, root, tmp_path):
    config = f"--config={root / CONFIG}"
    fails("input", config, "--size=3", says="--size is '3'", code=2)
    fails("input", config, f"--output={tmp_path}", says="ends in .json", code=2)
    for budget in ("16GB", "16,0"):
        says = f"--budget_gib is '{budget}'; expected numbers of GiB"
        fails("memory", config, f"--budget_gib={budget}", says=says)


@pytest.mark.parametrize("storage", STORAGES)
def test_what_is_measured_is_the_training_transform_of_the_scenes(root, tmp_path, storage):
    scene = draw_scene(3, (40, 80))
    write_source([draw_scene(2, (40, 80)), scene], tmp_path)
    config = load_config(root / CONFIG).data
    config.base_scale, config.scale_range, config.crop_size = (80, 40), (1.0, 1.0), (40, 80)
    config.flip_probability, config.photometric_distortion = 0.0, False
    sample = OurPipeline(config, tmp_path, storage).make(1, seed=0)
    np.testing.assert_array_equal(sample["image"], scene.image)
    np.testing.assert_array_equal(sample["label"], scene.label)


def test_scenes_are_rough_enough_to_take_long_to_decode_and_have_thin_structures():
    scene = draw_scene(0, (512, 1024))
    bits = 8 * len(cv2.imencode(".png", scene.image)[1]) / scene.image.size
    assert 2.5 < bits < 4  # of the 8 of a value; 2 to 2.5 MB at 1024x2048 are about 3
    shares = np.bincount(scene.label.ravel(), minlength=256) / scene.label.size
    assert 0.05 < shares[0] < 0.75  # road
    assert 0 < shares[5] < 0.03  # poles
    assert shares[255] > 0
    assert not np.array_equal(scene.label, draw_scene(1, (512, 1024)).label)


def test_the_command_starts_as_a_process_and_its_help_says_what_it_measures(root):
    finished = run_as_process(["-m", "benchmarks", "--help"], root)
    assert finished.returncode == 0, finished.stderr
    for name in (*BENCHMARKS, "--config", "--images", "--rounds", "--size"):
        assert name in finished.stdout
    assert "python -m benchmarks train --config=" in finished.stdout
