"""The configs of this repository: they load, and those of published runs say what was published."""

import ast
import json
from pathlib import Path

import pytest
from flax import nnx

from gcnet_jax.cli.data_sets import preparables
from gcnet_jax.tasks import task_of
from gcnet_jax.tasks.classification.data import ImageClasses
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.segmentation.data import DATA_SETS, DatasetClasses
from gcnet_jax.tasks.segmentation.published_results import published_results

ROOT = Path(__file__).parents[2]
PUBLISHED = json.loads((ROOT / "tests" / "models" / "published_runs.json").read_text())
PUBLISHED_RESULTS = json.loads((ROOT / "tests" / "models" / "published_results.json").read_text())
NUMBERED = {
    "segmentation": DatasetClasses.numbered,
    "classification": ImageClasses.numbered,
    "detection": ObjectClasses.numbered,
}
OF_USERS = ("folder", "class_folders", "instances")
"""Folders of configs for data sets of users' own."""
CONFIGS = sorted(p for p in ROOT.glob("configs/*/*.py") if p.parent.name != "common")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_has_all_keys_and_describes_a_model(path):
    config = load_config(path)
    if path.parent.name not in OF_USERS:
        assert preparables()[config.task].sets.official_set(config.data.name)
    if not config.published_run:  # the others are built where their parameters are counted
        meaning = NUMBERED[config.task](11)
        model = nnx.eval_shape(lambda: task_of(config).build_model(config, meaning))
        assert model.backbone is not None
    assert path.read_text().startswith('"""'), "a run's file says what it is and how to start it"
    assert "gcnet train" in path.read_text()


@pytest.mark.parametrize("run", PUBLISHED)
def test_a_published_runs_config_says_what_the_reference_ran(run):
    config, published = load_config(ROOT / "configs" / "gcnet" / f"{run}.py"), PUBLISHED[run]
    (schedule,) = published["lr"]
    test = published["test_cfg"]
    for ours, theirs in (
        (config.published_run, run),
        (config.model.align_corners, published["align_corners"]),
        (DATA_SETS.meaning(config.data.name).num_classes, published["num_classes"]),
        (config.model.backbone.depth, 101 if "r101" in run else 50),
        (config.data.base_scale, published["resize"]["scale"]),
        (config.data.base_scale, published["test_scale"]),
        (config.data.scale_range, published["resize"]["ratio_range"]),
        (config.data.crop_size, published["crop_size"]),
        (config.training.total_steps, published["max_iters"]),
        (config.training.batch_size, published["global_batch"]),
        (config.training.evaluate_every, published["val_interval"]),
        (config.optimizer.learning_rate, published["optimizer"]["lr"]),
        (config.optimizer.momentum, published["optimizer"]["momentum"]),
        (config.optimizer.weight_decay, published["optimizer"]["weight_decay"]),
        (config.optimizer.final_learning_rate, schedule["eta_min"]),
        (config.optimizer.power, schedule["power"]),
        (config.evaluation.mode, test["mode"]),
        (config.evaluation.window, test.get("crop_size", config.evaluation.window)),
        (config.evaluation.window_stride, test.get("stride", config.evaluation.window_stride)),
        (config.evaluation.scales, published["tta_scales"]),
    ):
        assert (list(ours) if isinstance(ours, tuple) else ours) == (
            list(theirs) if isinstance(theirs, tuple) else theirs
        )


@pytest.mark.parametrize("run", PUBLISHED)
def test_a_published_runs_file_says_how_to_start_it_and_what_to_expect(run):
    file, result = ROOT / "configs" / "gcnet" / f"{run}.py", PUBLISHED_RESULTS[run]
    says = " ".join(ast.get_docstring(ast.parse(file.read_text())).split())
    images = load_config(file).training.batch_size // 4
    for expected in (
        f"gcnet train --workdir=runs/{run} \\ --config=configs/gcnet/{run}.py",
        f"Published: {result['miou']} mIoU, {result['miou_ms_flip']} at six scales with flips",
        f"trained on 4 V100 with {images} images each",
        f"{result['iterations'] // 1000}k steps of {4 * images} crops of {result['crop']}",
    ):
        assert expected in says
    for figure, unit in (
        ("memory_gb", "GB a GPU"),
        ("inference_fps_v100", "images/s in inference"),
    ):
        if result[figure] is None:
            assert unit not in says
        else:
            assert f"{result[figure]} {unit}" in says


def test_every_config_of_a_published_run_is_one_of_the_reference():
    assert {file.stem for file in (ROOT / "configs" / "gcnet").glob("*.py")} == set(PUBLISHED)


def test_the_librarys_list_of_published_results_is_the_references():
    results = {result.run: result for result in published_results()}
    assert results.keys() == PUBLISHED_RESULTS.keys()
    for run, theirs in PUBLISHED_RESULTS.items():
        assert list(results[run])[1:] == [
            theirs[key]
            for key in (
                "dataset",
                "backbone",
                "crop",
                "iterations",
                "miou",
                "miou_ms_flip",
                "memory_gb",
                "inference_fps_v100",
            )
        ]
