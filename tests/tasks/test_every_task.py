"""What every task has to do, through the same calls."""

import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pytest

import gcnet_jax
from gcnet_jax.config import in_steps
from gcnet_jax.errors import InputError
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks import TASKS, schema_of, task_of
from gcnet_jax.tasks.configs import from_plain, load_config
from gcnet_jax.training import (
    EvaluationRun,
    TrainingProgram,
    read_metadata,
    read_rows,
    run_training,
)
from tests.cli.jobs import final_arrays

CONFIGS = {
    "segmentation": ("context_shapes/gcnet.py",),
    "classification": ("context_scenes/gcnet.py",),
    "detection": ("instances/mask-rcnn_nuclei.py", "context_objects"),
}


def config_of(task, root):
    file, *arguments = CONFIGS[task]
    return load_config(root / "configs" / file, *arguments)


@pytest.fixture(params=TASKS, scope="module")
def config(request, root):
    config = config_of(request.param, root)
    data_dir = {
        "segmentation": "shapes_dir",
        "classification": "scenes_dir",
        "detection": "objects_dir",
    }[request.param]
    config.data.data_dir = str(request.getfixturevalue(data_dir))
    config.model.backbone.base_channels = 8
    config.model.backbone.num_stages = 1
    if request.param == "segmentation":
        config.model.decode_head.channels = 8
    else:
        config.model.backbone.context.stages = (0,)
        config.optimizer.warmup_steps = 2
    if request.param == "detection":
        model = config.model
        config.evaluation.split = "val"
        config.data.base_scale, model.test.max_per_image = (64, 32), 8
        model.neck.channels = model.rpn.channels = model.mask_head.channels = 8
        model.box_head.channels, model.mask_head.convolutions = 8, 1
        for proposals in (model.rpn.train, model.rpn.test):
            proposals.nms_pre, proposals.max_per_image = 20, 10
        model.rpn.train.samples = model.box_head.train.samples = 16
    config.training.total_steps, config.training.batch_size = 6, 16
    config.training.log_every = 1
    config.training.evaluate_every = config.training.checkpoint_every = 3
    config.evaluation.batch_size = 40
    if request.param == "classification":  # the same steps, counted in epochs
        training = config.training
        training.total_steps = training.evaluate_every = training.checkpoint_every = 0
        config.epochs.total, config.epochs.steps = 2, 3
        config.epochs.evaluate_every = config.epochs.checkpoint_every = 1
    return config


@pytest.fixture(scope="module")
def workdir(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    gcnet_jax.train(config, folder)
    return folder


def test_a_run_logs_evaluates_draws_and_says_which_checkpoint_is_the_best(config, workdir):
    task = task_of(config)
    rows = read_rows(workdir)
    assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2, 3, 4, 5, 6]
    found = {row["step"]: row[task.best_metric] for row in rows if row["split"] == "val"}
    assert found.keys() == {3, 6}
    pictures = {path.name for path in (workdir / "pictures").iterdir()}
    assert pictures == {"first_batch.png", "step_000003.png", "step_000006.png"}
    assert (workdir / "curves.png").exists()
    best = max(found, key=lambda step: (found[step], step))
    assert gcnet_jax.load(workdir).source.name == str(best)


def test_what_a_run_found_is_found_again_and_written_as_json(config, workdir):
    evaluation = gcnet_jax.evaluate(workdir)
    task = task_of(config)
    best = max(r[task.best_metric] for r in read_rows(workdir) if task.best_metric in r)
    assert evaluation.summary[task.best_metric] == pytest.approx(best, abs=1e-6)
    written = json.loads(json.dumps(evaluation.to_plain()))["summary"]
    assert {name: x for name, x in written.items() if x is not None} == evaluation.summary
    assert evaluation.table().row_count > 1


def test_a_network_that_is_loaded_takes_images_alone_and_in_lists(workdir):
    net = gcnet_jax.load(workdir)
    images = [np.full((70, 90, 3), value, np.uint8) for value in (10, 200)]
    together, alone = net(images), [net(image) for image in images]
    for one, other in zip(together, alone, strict=True):
        scores, expected = (x.scores() if callable(x.scores) else x.scores for x in (one, other))
        np.testing.assert_allclose(scores, expected, atol=1e-4)
    with pytest.raises(InputError, match="the image is a int"):
        net(3)


def test_the_task_of_a_runs_file_is_one_of_the_library_or_that_of_a_config_that_is_named(
    config, workdir, tmp_path
):
    copy = shutil.copytree(workdir, tmp_path / "run")
    saved = json.loads((copy / "config.json").read_text())
    saved["config"]["task"] = "somebodys.task"
    (copy / "config.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match=r"there is no task 'somebodys\.task'"):
        gcnet_jax.load(copy)
    assert gcnet_jax.load(copy, config=config).config.task == config.task


def test_a_finished_run_started_again_changes_nothing_and_another_task_is_refused(
    config, workdir, root, capsys
):
    before = read_rows(workdir)
    gcnet_jax.train(config, workdir)
    assert read_rows(workdir) == before
    assert re.search("schedule  .* epochs of [0-9]+ images", capsys.readouterr().out)
    other = next(name for name in TASKS if name != config.task)
    theirs = config_of(other, root)
    with pytest.raises(InputError):
        gcnet_jax.load(workdir, config=theirs)


@pytest.mark.parametrize(
    "config",
    # Others are killed and resumed by tests of the commands.
    [
        "detection",
        *(pytest.param(x, marks=pytest.mark.campaign) for x in TASKS if x != "detection"),
    ],
    indirect=True,
)
def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(config, workdir, tmp_path):
    """In what it draws at random, too: in order, transforms, dropout and samples."""
    copy = shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "6")
    gcnet_jax.train(config, copy)
    found, expected = final_arrays(copy, 6), final_arrays(workdir, 6)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_checkpoint_says_of_which_task_it_is(config, workdir):
    metadata = read_metadata(gcnet_jax.load(workdir).source)
    assert metadata["config"]["task"] == config.task
    assert from_plain(metadata["config"]).eq_as_configdict(in_steps(config, images=1))
    assert metadata["config"]["training"]["total_steps"] == 6


@pytest.mark.parametrize("config", ["classification"], indirect=True)
def test_a_run_in_epochs_is_not_taken_up_with_epochs_of_other_steps(config, workdir):
    """As of a data set that was prepared anew with more images."""
    config = config.copy_and_resolve_references()
    config.epochs.steps = 0
    with pytest.raises(InputError, match=r"epochs have 3 steps, and .*--config\.epochs\.steps=3"):
        gcnet_jax.train(config, workdir)


def test_the_first_step_is_the_same_however_devices_share_it(config):
    """On one device, on eight, with each image over two, and with the state spread."""
    if config.task == "detection":
        pytest.skip("tests/tasks/detection/test_detectors_on_many_devices.py has what takes longer")
    task = task_of(config)
    config = config.copy_and_resolve_references()
    meaning, found = task.meaning_of_data(config), []
    layouts = ((1, 1, False), (8, 1, False), (8, 2, False), (8, 1, True))
    for devices, spatial, fsdp in layouts:
        config.parallel.spatial, config.parallel.fsdp = spatial, fsdp
        mesh = create_mesh(jax.devices()[:devices], spatial=spatial)
        program = TrainingProgram(task, config, meaning, mesh)
        state = program.initial_state()
        _, metrics = program.step(state, program.random_batch())
        found.append([float(metrics[key]) for key in ("loss", "gradient_norm")])
    np.testing.assert_allclose(found, [found[0]] * len(layouts), rtol=2e-4)


@pytest.mark.parametrize("config", ["classification"], indirect=True)  # the quicker one
def test_a_task_without_pictures_and_predictions_trains_and_is_evaluated(config, tmp_path):
    task = task_of(config)
    assert task.schema is schema_of(config)
    bare = dataclasses.replace(task, observer=None, shown_examples=None, prediction=None)
    config = config.copy_and_resolve_references()
    config.training.total_steps, config.epochs.total = 3, 0
    run_training(bare, config, tmp_path / "run")
    assert not (tmp_path / "run" / "pictures").exists()
    run = EvaluationRun(bare, config, workdir=str(tmp_path / "run"))
    assert run.shown_examples(2) is None
    (row,) = (row for row in read_rows(tmp_path / "run") if row["split"] == "val")
    assert run.evaluate().summary[task.best_metric] == pytest.approx(row[task.best_metric])
