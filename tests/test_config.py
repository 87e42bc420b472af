import ast
import json
from pathlib import Path

import pytest
from flax import nnx

from gcnet_jax.config import (
    architecture,
    check_config,
    default_config,
    differences,
    from_plain,
    load_config,
    to_plain,
)
from gcnet_jax.data import dataset_classes
from gcnet_jax.errors import InputError
from gcnet_jax.interop import published_results
from gcnet_jax.models import build_model

ROOT = Path(__file__).parents[1]
PUBLISHED = json.loads((ROOT / "tests" / "models" / "published_runs.json").read_text())
PUBLISHED_RESULTS = json.loads((ROOT / "tests" / "models" / "published_results.json").read_text())
CONFIGS = sorted(p for p in ROOT.glob("configs/*/*.py") if p.parent.name != "common")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_has_all_keys_and_describes_a_model(path):
    config = load_config(path)
    dataset_classes(config.data.name)
    if not config.published_run:  # the others are built where their parameters are counted
        model = nnx.eval_shape(lambda: build_model(config.model, num_classes=11))
        assert model.decode_head is not None
    assert path.read_text().startswith('"""'), "a run's file says what it is and how to start it"
    assert "scripts/train.py" in path.read_text()


def write(tmp_path, body):
    path = tmp_path / "run.py"
    path.write_text(
        "from gcnet_jax.config import default_config\n\n"
        "def get_config(width=None):\n    config = default_config()\n"
        f"    {body}\n    return config\n"
    )
    return path


def test_a_misspelt_key_in_a_file_is_named_with_what_was_meant(tmp_path):
    path = write(tmp_path, "config.optimizer.learning_rat = 1.0")
    with pytest.raises(InputError, match=r"run\.py.*learning_rate"):
        load_config(path)


def test_a_key_that_was_forced_in_or_left_out_is_named(tmp_path):
    config = default_config()
    with config.unlocked():
        config.model.widht = 3
        del config.data.crop_size
    with pytest.raises(InputError, match=r"unknown keys: model\.widht"):
        check_config(config)
    with config.unlocked():
        del config.model.widht
    with pytest.raises(InputError, match=r"lacks the keys: data\.crop_size"):
        check_config(config)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("data.crop_size", (5,), "expected 2 numbers"),
        ("data.crop_size", ("a", "b"), "expected a value of type int"),
        ("data.flip_probability", "often", "expected a number"),
        ("training.total_steps", 1.5, "expected a value of type int"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(key, value, says):
    config = default_config()
    section, name = key.split(".")
    with config.ignore_type():
        config[section][name] = value
    with pytest.raises(InputError, match=says):
        check_config(config)


def test_whole_numbers_stand_for_fractions():
    config = default_config()
    with config.ignore_type():
        config.data.scale_range = (1, 2)
    check_config(config)


@pytest.mark.parametrize("key", ["training.accumulation_steps", "model.decode_head.num_convs"])
def test_a_count_below_one_is_named(key):
    config = default_config()
    config.update_from_flattened_dict({key: 0})
    with pytest.raises(InputError, match=rf"{key} is 0; expected 1 or more"):
        check_config(config)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no config file .*nothing\.py"):
        load_config(tmp_path / "nothing.py")


def test_a_config_takes_arguments(tmp_path):
    path = write(tmp_path, "config.model.backbone.base_channels = int(width)")
    assert load_config(path, "8").model.backbone.base_channels == 8


def test_differences_are_named_by_key_with_both_values():
    old, new = default_config(), default_config()
    new.optimizer.momentum = 0.5
    new.data.crop_size = (1, 2)
    assert differences(to_plain(old), to_plain(new)) == [
        "data.crop_size: [512, 1024] -> [1, 2]",
        "optimizer.momentum: 0.9 -> 0.5",
    ]
    assert differences(to_plain(old), to_plain(default_config())) == []


def test_a_models_architecture_is_that_of_the_context_blocks_it_has():
    def changed(**values):
        config = default_config()
        config.update_from_flattened_dict(values, strip_prefix="")
        return differences(
            architecture(to_plain(default_config().model)), architecture(to_plain(config.model))
        )

    head, backbone = "model.decode_head.context", "model.backbone.context"
    assert changed(**{f"{head}.non_local.mode": "gaussian", f"{backbone}.stages": (1,)}) == []
    assert changed(**{f"{head}.global_context.ratio": 0.5}) == [
        "decode_head.context.global_context.ratio: 0.25 -> 0.5"
    ]
    assert any("non_local" in line for line in changed(**{f"{head}.block": "non_local"}))


def test_precision_dropout_and_what_is_computed_again_are_no_part_of_the_architecture():
    config = default_config()
    config.model.dtype = "bfloat16"
    config.model.decode_head.dropout_rate = 0.0
    config.model.backbone.remat_stages = (0, 1)
    check_config(config)
    expected = architecture(to_plain(default_config().model))
    assert architecture(to_plain(config.model)) == expected


def test_tuples_of_any_length_hold_the_right_elements():
    config = default_config()
    config.model.backbone.context.stages = ()
    config.model.backbone.context.residual_blocks = (0, -1)
    check_config(config)
    with config.ignore_type():
        config.model.backbone.context.stages = ("c4",)
    with pytest.raises(InputError, match=r"backbone\.context\.stages|value of type int"):
        check_config(config)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("mode", "slid", r"evaluation\.mode is 'slid'"),
        ("window_stride", (0, 5), r"evaluation\.window_stride"),
        ("window_stride", (5, 1000), r"evaluation\.window_stride"),
        ("scales", (1.0, 0.0), r"evaluation\.scales"),
        ("scales", (), r"evaluation\.scales"),
        ("window", (0, 40), r"evaluation\.window is \(0, 40\)"),
        ("windows_at_once", -1, r"evaluation\.windows_at_once is -1"),
        ("max_buckets", 0, r"evaluation\.max_buckets is 0"),
    ],
)
def test_inference_that_cannot_work_is_refused_before_anything_starts(key, value, says):
    config = default_config()
    config.evaluation[key] = value
    with pytest.raises(InputError, match=says):
        check_config(config)


def test_a_plain_config_becomes_the_same_config_again():
    config = default_config()
    config.data.crop_size = (3, 4)
    config.evaluation.scales = (0.5, 1.0)
    assert from_plain(to_plain(config)) == config


@pytest.mark.parametrize("run", PUBLISHED)
def test_a_published_runs_config_says_what_the_reference_ran(run):
    config, published = load_config(ROOT / "configs" / "gcnet" / f"{run}.py"), PUBLISHED[run]
    (schedule,) = published["lr"]
    test = published["test_cfg"]
    for ours, theirs in (
        (config.published_run, run),
        (config.model.align_corners, published["align_corners"]),
        (dataset_classes(config.data.name).num_classes, published["num_classes"]),
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
        f"python scripts/train.py --workdir=runs/{run} \\ --config=configs/gcnet/{run}.py",
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
