"""The benchmarks of training steps, and the programs that they measure."""

import itertools
import json
import types

import jax
import numpy as np
import pytest
from absl import flags
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import config_flags

from benchmarks import memory
from benchmarks.memory import CROP_STEP, crop_at, crop_number, remat_choices
from benchmarks.startup import config_arguments
from gcnet_jax.analysis import image_cost
from gcnet_jax.cli.timing import TimedStep
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.program import ProgramMemory, TrainingProgram
from tests.commands import run_as_process

CONFIG = "configs/context_shapes/gcnet.py"
NARROW = {
    "model.backbone.num_stages": 1,
    "model.backbone.base_channels": 4,
    "model.decode_head.stage": 0,
    "model.decode_head.channels": 4,
    "model.decode_head.num_convs": 1,
    "model.auxiliary_head.enabled": False,
    "training.batch_size": 4,
}
ARGUMENTS = tuple(f"--config.{key}={value}" for key, value in NARROW.items())
PARTS = ("arguments", "outputs", "aliased", "temporaries")


@pytest.fixture
def config(root):
    """With one image on each of this process's devices."""
    config = load_config(root / CONFIG)
    config.update_from_flattened_dict(NARROW)
    config.training.batch_size = jax.device_count()
    return config


def test_the_train_benchmark_writes_speed_flops_and_memory(root, benchmark, tmp_path, config):
    output = tmp_path / "train.json"
    process = benchmark(
        "train",
        f"--config={root / CONFIG}",
        *ARGUMENTS,
        "--config.model.backbone.remat_stages=(0,)",
        "--rounds=3",
        f"--output={output}",
        devices=2,
    )
    assert process.returncode == 0, process.stderr
    assert "2 x cpu" in process.stdout
    result = json.loads(output.read_text())
    assert result["benchmark"] == "train"
    assert (result["devices"], result["batch_size"], result["crop_size"]) == (2, 4, [64, 128])
    (row,) = result["rows"]
    assert row["way"] == "gcnet_jax"
    assert row["compile_seconds"] > 0

    seconds = np.array(row["seconds_of_rounds"])
    assert len(seconds) == 3
    flops = row["model_flops"]
    for key, expected in (
        ("step_seconds", seconds),
        ("images_per_second", 4 / seconds),
        ("model_flops_per_second_and_device", flops / 2 / seconds),
    ):
        assert row[key]["median"] == pytest.approx(np.median(expected))
    # A backward pass costs two forward ones, but for what needs no gradient: the images that the
    # first convolution gets, and the matrices that resize the logits.
    model = nnx.eval_shape(lambda: build_model(config.model, num_classes=7))
    forward = 2 * 4 * image_cost(model, (64, 128))
    first_convolution = 2 * 4 * (32 * 64) * (9 * 3) * 2
    resizing = 2 * 4 * (64 * 16 + 64 * 128) * 32 * 7
    assert flops == 3 * forward - first_convolution - resizing
    assert flops < row["step_flops"] < flops + forward

    parts = row["memory"]
    assert all(parts[part] > 0 for part in PARTS)
    assert parts["aliased"] < parts["outputs"] < parts["arguments"]
    assert parts["peak"] == sum(parts[p] for p in PARTS) - 2 * parts["aliased"]
    for name in (*PARTS, "peak"):
        assert name in process.stdout


def check_that_no_more_fits(result):
    """Every answer is of a program that fits, and the next larger one is of one that does not."""
    peaks = {
        (tuple(p["remat_stages"]), p["batch_size"], tuple(p["crop"])): p["peak"]
        for p in result["programs"]
    }
    assert len(peaks) == len(result["programs"])
    base_batch, base_crop = result["batch_size"], tuple(result["crop_size"])
    for row in result["rows"]:
        stages, limit = tuple(row["remat_stages"]), row["budget_gib"] * 2**30
        batch, crop = row["largest_batch"], row["largest_crop"]
        devices, number = result["devices"], batch["images_per_device"]
        if number is None:
            assert batch["bytes"] is None
        else:
            assert peaks[stages, number * devices, base_crop] == batch["bytes"] <= limit
        assert peaks[stages, batch["next"] * devices, base_crop] == batch["next_bytes"] > limit
        if crop["size"] is None:
            assert crop["bytes"] is None
        else:
            assert peaks[stages, base_batch, tuple(crop["size"])] == crop["bytes"] <= limit
        assert peaks[stages, base_batch, tuple(crop["next"])] == crop["next_bytes"] > limit


def test_largest_batches_and_crops_are_those_of_the_programs_memory(config, monkeypatch, capsys):
    """With programs that need 1 MiB and 1000 bytes a pixel, 600 where it is computed again."""

    class Program:
        def __init__(self, task, config, classes):
            images = config.training.batch_size // jax.device_count()
            height, width = config.data.crop_size
            per_pixel = 600 if config.model.backbone.remat_stages else 1000
            memory = ProgramMemory(1 << 20, 0, 0, images * height * width * per_pixel)
            self.compile = lambda: types.SimpleNamespace(memory=memory)

    monkeypatch.setattr(memory, "TrainingProgram", Program)
    result = memory.find_largest(config, num_classes=7, budgets_gib=[16, 0.001, 0.016])
    check_that_no_more_fits(result)
    assert len(result["programs"]) <= 2 * (1 + 3 * 3 + 3 * 3)
    rows = {(row["budget_gib"], tuple(row["remat_stages"])): row for row in result["rows"]}
    assert list(rows) == [(b, stages) for b in (0.001, 0.016, 16) for stages in ((), (0,))]
    found = [
        (row["largest_batch"]["images_per_device"], row["largest_crop"]["size"])
        for row in rows.values()
    ]
    assert found[:4] == [(None, None), (None, None), (1, [64, 128]), (3, [96, 192])]
    size = 16 * 2**30 - 2**20
    assert found[4][0] == size // (64 * 128 * 1000)
    assert found[5][0] == size // (64 * 128 * 600)
    height, width = found[5][1]
    assert width == 2 * height
    assert height * width * 600 <= size < (height + CROP_STEP) * (width + 2 * CROP_STEP) * 600
    printed = capsys.readouterr()
    assert "for GPUs and TPUs need other amounts" in printed.out
    assert "none" in printed.out
    assert printed.err.count("GiB a device") == len(result["programs"])


@pytest.mark.campaign
def test_the_memory_benchmark_compiles_what_it_answers(root, benchmark, tmp_path):
    output = tmp_path / "memory.json"
    arguments = (f"--config={root / CONFIG}", *ARGUMENTS, f"--output={output}")
    process = benchmark("memory", *arguments, "--budget_gib=0.05")
    assert process.returncode == 0, process.stderr
    assert "1 x cpu" in process.stdout
    result = json.loads(output.read_text())
    assert result["benchmark"] == "memory"
    check_that_no_more_fits(result)
    plain, with_remat = (row["largest_batch"]["images_per_device"] for row in result["rows"])
    assert 1 <= plain < with_remat
    assert len(result["programs"]) <= 2 * (1 + 4 + 4)


def test_programs_are_compiled_for_batches_that_no_machine_could_hold(config):
    config.training.batch_size, config.data.crop_size = 1 << 14, (1024, 2048)
    program = TrainingProgram(segmentation, config, DatasetClasses.numbered(150))
    assert program.compile().memory.peak > 1 << 40


def test_what_is_timed_is_training(config):
    program = TrainingProgram(segmentation, config, DatasetClasses.numbered(7))
    compiled = program.compile()
    step = TimedStep(program, compiled)
    assert step.seconds() > 0
    state, metrics = compiled.run(program.initial_state(), program.random_batch())
    assert int(state.step) == 1
    assert float(metrics["loss"]) == step.first_loss == pytest.approx(np.log(7), rel=0.1)
    shapes = [s.data.shape[0] for s in program.random_batch()["image"].addressable_shards]
    assert shapes == [1] * jax.device_count()


def test_accelerators_are_given_steps_without_a_wait_between_them(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    monkeypatch.setattr("gcnet_jax.cli.timing.time.perf_counter", lambda: next(clock))
    waits, step = [], object.__new__(TimedStep)
    step._run = lambda state, batch: (state + batch, {"loss": 1.0})
    step._state, step._batch = 0, 1
    monkeypatch.setattr("jax.block_until_ready", lambda x: waits.append(x) or x)
    assert step.seconds() == 1 / step._state
    assert step._state > 1
    assert len(waits) == 1


def test_a_batch_that_does_not_divide_over_the_devices_is_refused(config):
    config.training.batch_size = jax.device_count() + 1
    with pytest.raises(InputError, match=rf"training\.batch_size is {config.training.batch_size}"):
        TrainingProgram(segmentation, config, DatasetClasses.numbered(7))


EDGES = st.integers(CROP_STEP, 2048)


@given(EDGES, EDGES)
def test_crops_are_in_proportion_and_step_from_the_configs(height, width):
    crop = (height, width)
    assert crop_at(crop_number(crop), crop) == crop
    crops = [crop_at(number, crop) for number in range(1, 80)]
    for smaller, larger in itertools.pairwise(crops):
        assert smaller[0] <= larger[0]
        assert smaller[1] <= larger[1]
        assert smaller[0] * smaller[1] < larger[0] * larger[1]
    for other in crops:
        assert min(other) > 0
        assert all((a - b) % CROP_STEP == 0 for a, b in zip(other, crop, strict=True))
        ratio = min(other) / min(crop)
        assert abs(max(other) - max(crop) * ratio) <= CROP_STEP / 2 + 1e-6


def test_crops_of_769_pixels_stay_one_more_than_a_multiple():
    assert [crop_at(number, (769, 769)) for number in (1, 24, 25)] == [
        (33, 33),
        (769,) * 2,
        (801,) * 2,
    ]


def test_the_choices_of_stages_are_none_the_first_all_and_the_configs():
    config = default_config()
    assert remat_choices(config) == [(), (0, 1), (0, 1, 2, 3)]
    config.model.backbone.remat_stages = (3, 2)
    assert remat_choices(config) == [(), (0, 1), (2, 3), (0, 1, 2, 3)]


@pytest.mark.campaign
def test_the_growth_benchmark_changes_one_quantity_at_a_time(root, benchmark, tmp_path):
    output = tmp_path / "growth.json"
    arguments = (f"--config={root / CONFIG}", *ARGUMENTS, "--rounds=2", f"--output={output}")
    process = benchmark("growth", *arguments)
    assert process.returncode == 0, process.stderr
    result = json.loads(output.read_text())
    by_quantity = {}
    for row in result["rows"]:
        by_quantity.setdefault(row["quantity"], {})[row["value"]] = row
    own = {"crop area, pixels": 64 * 128, "batch": 4, "depth": 18, "classes": 7}
    assert list(by_quantity) == list(own)
    assert list(by_quantity["crop area, pixels"]) == [
        32 * 64,
        64 * 96,
        64 * 128,
        96 * 192,
        128 * 256,
    ]
    assert list(by_quantity["batch"]) == [4, 8, 12, 16]
    assert list(by_quantity["depth"]) == [18, 34, 50, 101]
    assert list(by_quantity["classes"]) == [2, 7, 19, 60, 150]
    for quantity, rows in by_quantity.items():
        relative = rows[own[quantity]]["relative"]
        assert relative == {"seconds": {"median": 1, "spread": 0}, "flops": 1, "memory": 1}
        flops = [row["flops"] for row in rows.values()]
        assert flops == sorted(flops)
    assert by_quantity["batch"][16]["relative"]["flops"] == pytest.approx(4, rel=0.01)
    assert output.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_loop_is_compared_with_its_steps_and_says_nothing_itself(root, benchmark, tmp_path):
    output = tmp_path / "loop.json"
    arguments = (f"--config={root / CONFIG}", *ARGUMENTS, "--steps=5", "--rounds=3")
    process = benchmark("loop", *arguments, f"--output={output}")
    assert process.returncode == 0, process.stderr
    result = json.loads(output.read_text())
    seconds = {row["way"]: np.array(row["seconds_of_rounds"]) for row in result["rows"]}
    assert list(seconds) == ["the loop", "bare steps"]
    overhead = np.median(seconds["the loop"] / seconds["bare steps"] - 1)
    assert result["overhead"]["median"] == pytest.approx(overhead)
    assert "the loop adds" in process.stdout
    assert "images/s" not in process.stdout  # what the loop says is not shown


@pytest.mark.campaign
def test_a_second_start_is_compared_with_the_first(root, tmp_path, shapes_dir):
    output = tmp_path / "startup.json"
    data = f"--config.data.data_dir={shapes_dir}"
    arguments = (f"--config={root / CONFIG}", *ARGUMENTS, data, "--rounds=1")
    program = ("-m", "benchmarks", "startup", *arguments, f"--output={output}")
    finished = run_as_process(program, root)
    assert finished.returncode == 0, finished.stderr
    first, second = json.loads(output.read_text())["rows"]
    assert (first["way"], second["way"]) == ("first start", "second start")
    assert second["times_as_fast_as"]["first start"]["median"] > 1


def test_a_training_that_does_not_start_is_no_measurement(fails, root, tmp_path):
    data = f"--config.data.data_dir={tmp_path}"
    says = "training does not start: error:"
    fails("startup", f"--config={root / CONFIG}", data, "--rounds=1", says=says)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("", []),
        ("--config.seed 3 --rounds=2", ["--config.seed=3"]),
        ("--config.parallel.fsdp --rounds=2", ["--config.parallel.fsdp=True"]),
        ("--noconfig.data.photometric_distortion", ["--config.data.photometric_distortion=False"]),
        ("--config.data.crop_size=(64,128)", ["--config.data.crop_size=(64, 128)"]),
    ],
)
def test_the_command_that_is_started_gets_all_that_is_said_of_the_config(root, overrides, expected):
    line = ["benchmarks", "startup", f"--config={root / CONFIG}", *overrides.split()]
    values = flags.FlagValues()
    flags.DEFINE_integer("rounds", 1, "", flag_values=values)
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=line)
    values.set_gnu_getopt(True)
    values(line)
    assert config_arguments(values) == [f"--config={root / CONFIG}", *expected]


def test_the_command_that_is_started_gets_the_configs_argument(root):
    config = f"--config={root / 'configs' / 'ablation' / 'context_shapes.py'}:gc"
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=["startup", config])
    values(["startup", config])
    assert config_arguments(values) == [config]
