"""Models with weights from own checkpoints and foreign files, through the Python API."""

import contextlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gcnet_jax
from gcnet_jax.errors import InputError
from gcnet_jax.interop import write_torch_checkpoint
from gcnet_jax.interop.torch_files.writing import torch_file
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS, DatasetClasses
from gcnet_jax.tasks.segmentation.foreign_classes import classes_to_meta
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.tasks.segmentation.weights import FOREIGN
from gcnet_jax.training.pretrained import initialize, load_pretrained, save_model

IMAGES = jnp.linspace(-1, 1, 32 * 48 * 3).reshape(1, 32, 48, 3)


@pytest.fixture(scope="module")
def config():
    config = default_config()
    config.data.name = "context_shapes"
    config.model.backbone.depth = 18
    config.model.backbone.base_channels = 8
    config.model.backbone.num_stages = 2
    config.model.decode_head.stage, config.model.auxiliary_head.stage = 1, 0
    config.model.decode_head.channels = config.model.auxiliary_head.channels = 16
    return config


@pytest.fixture(scope="module")
def classes():
    return DATA_SETS.meaning("context_shapes")


@pytest.fixture(scope="module")
def model(config, classes):
    return build_model(config.model, num_classes=classes.num_classes, seed=5)


@pytest.fixture(scope="module")
def folder(model, config, classes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "checkpoint"
    save_model(folder, model, config, classes)
    return folder


@pytest.fixture(scope="module")
def pth(model, classes, tmp_path_factory):
    path = tmp_path_factory.mktemp("pth") / "model.pth"
    write_torch_checkpoint(path, FOREIGN.export_state_dict(model), classes_to_meta(classes))
    return path


def assert_same(model, other):
    theirs = FOREIGN.export_state_dict(other)
    for name, array in FOREIGN.export_state_dict(model).items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


@pytest.mark.parametrize("source", ["folder", "pth"])
def test_a_model_comes_back_bitwise_and_ready_for_inference(source, config, model, request):
    path = request.getfixturevalue(source)
    loaded = gcnet_jax.load_model(config, path)
    assert_same(loaded, model)
    apply, variables = gcnet_jax.functional(loaded)
    expected, their_variables = gcnet_jax.functional(model)
    logits = jax.jit(apply)(variables, IMAGES)
    np.testing.assert_array_equal(logits, jax.jit(expected)(their_variables, IMAGES))
    np.testing.assert_allclose(loaded(IMAGES), logits, atol=1e-5)  # in evaluation mode already


@pytest.mark.parametrize("source", ["folder", "pth"])
def test_classes_come_from_the_checkpoint(source, config, classes, request):
    pretrained = load_pretrained(segmentation, config, request.getfixturevalue(source))
    assert pretrained.meaning == classes
    assert not pretrained.left


def test_a_checkpoint_of_other_classes_brings_its_own(config, tmp_path):
    classes = DatasetClasses(("a", "b"), ((0, 0, 0), (9, 9, 9)))
    other = build_model(config.model, num_classes=2)
    write_torch_checkpoint(
        tmp_path / "x.pth", FOREIGN.export_state_dict(other), classes_to_meta(classes)
    )
    assert load_pretrained(segmentation, config, tmp_path / "x.pth").meaning == classes


def test_weights_of_another_model_are_refused_with_the_file_and_the_entries(config, pth):
    other = config.copy_and_resolve_references()
    other.model.decode_head.context.block = ""
    with pytest.raises(InputError, match=r"model\.pth: .*unexpected: decode_head\.gc_block"):
        load_pretrained(segmentation, other, pth)
    left = load_pretrained(segmentation, other, pth, allow_partial=True).left
    assert left.missing == left.misshaped == ()
    assert len(left.unexpected) == 8


def test_a_folder_of_another_model_is_refused_with_the_differences(config, folder):
    other = config.copy_and_resolve_references()
    other.model.backbone.depth = 34
    with pytest.raises(InputError, match=r"another model.*depth: 18 -> 34"):
        load_pretrained(segmentation, other, folder)


def test_a_checkpoint_folder_is_never_overwritten(model, config, classes, folder):
    with pytest.raises(InputError, match="is there already"):
        save_model(folder, model, config, classes)


def test_a_missing_checkpoint_is_named(config, tmp_path):
    with pytest.raises(InputError, match=r"there is no checkpoint .*nowhere\.pth"):
        gcnet_jax.load_model(config, tmp_path / "nowhere.pth")


def fresh(config, num_classes=7):
    return build_model(config.model, num_classes=num_classes, seed=9)


@pytest.mark.parametrize("source", ["folder", "pth"])
@pytest.mark.parametrize("part", ["backbone", "model"])
def test_training_can_start_from_a_backbone_or_a_model(
    source, part, config, model, classes, request
):
    config = config.copy_and_resolve_references()
    config.training.init_from = str(request.getfixturevalue(source))
    config.training.init_part = part
    initial, started = fresh(config), fresh(config)
    says = initialize(segmentation, started, config, classes)
    assert says.startswith({"backbone": "backbone from", "model": "all weights from"}[part])
    given, before = FOREIGN.export_state_dict(model), FOREIGN.export_state_dict(initial)
    for name, array in FOREIGN.export_state_dict(started).items():
        taken = part == "model" or name.startswith("backbone.")
        np.testing.assert_array_equal(array, (given if taken else before)[name], err_msg=name)


def test_the_classifiers_are_left_out_when_the_classes_differ(config, model, folder):
    config = config.copy_and_resolve_references()
    config.training.init_from, config.training.init_part = str(folder), "model"
    others = DatasetClasses(("a", "b"), ((0, 0, 0), (9, 9, 9)))
    initial, started = fresh(config, 2), fresh(config, 2)
    assert "without the classifiers, for it has other classes" in initialize(
        segmentation, started, config, others
    )
    given, before = FOREIGN.export_state_dict(model), FOREIGN.export_state_dict(initial)
    for name, array in FOREIGN.export_state_dict(started).items():
        source = before if ".conv_seg." in name else given
        np.testing.assert_array_equal(array, source[name], err_msg=name)


def test_a_bare_backbone_file_starts_a_training(config, model, classes, tmp_path):
    backbone = FOREIGN.export_state_dict(model.backbone)
    (tmp_path / "resnet.pth").write_bytes(torch_file({"state_dict": backbone}))
    config = config.copy_and_resolve_references()
    config.training.init_from = str(tmp_path / "resnet.pth")
    started = fresh(config)
    initialize(segmentation, started, config, classes)
    assert_same(started.backbone, model.backbone)


@pytest.mark.parametrize("source", ["folder", "pth"])
def test_a_backbone_without_context_blocks_starts_one_with(source, config, model, classes, request):
    config = config.copy_and_resolve_references()
    config.model.backbone.context.block = "simplified_non_local"
    config.model.backbone.context.position = "after_add"
    config.model.backbone.context.stages = (1,)
    config.training.init_from = str(request.getfixturevalue(source))
    initial, started = fresh(config), fresh(config)
    assert "what is added to it from scratch" in initialize(segmentation, started, config, classes)
    given, before = (
        FOREIGN.export_state_dict(model.backbone),
        FOREIGN.export_state_dict(initial.backbone),
    )
    blocks = {name for name in before if "simplified_nonlocal_block" in name}
    assert before.keys() - given.keys() == blocks
    assert blocks
    for name, array in FOREIGN.export_state_dict(started.backbone).items():
        source_of = before if name in blocks else given
        np.testing.assert_array_equal(array, source_of[name], err_msg=name)


def test_a_backbone_with_context_blocks_comes_back_and_starts_another(config, classes, tmp_path):
    config = config.copy_and_resolve_references()
    config.model.backbone.context.block = "non_local"
    config.model.backbone.context.position = "after_add"
    config.model.backbone.context.stages = (1,)
    model = build_model(config.model, num_classes=classes.num_classes, seed=5)
    save_model(tmp_path / "checkpoint", model, config, classes)
    assert_same(gcnet_jax.load_model(config, tmp_path / "checkpoint"), model)
    config.training.init_from = str(tmp_path / "checkpoint")
    started = fresh(config)
    assert "scratch" not in initialize(segmentation, started, config, classes)
    assert_same(started.backbone, model.backbone)


def test_a_backbone_that_lacks_more_than_context_blocks_is_refused(
    config, model, classes, tmp_path
):
    backbone = FOREIGN.export_state_dict(model.backbone)
    del backbone["layer1.0.conv1.weight"]
    (tmp_path / "resnet.pth").write_bytes(torch_file({"state_dict": backbone}))
    config = config.copy_and_resolve_references()
    config.model.backbone.context.block = "simplified_non_local"
    config.model.backbone.context.position = "after_add"
    config.model.backbone.context.stages = (1,)
    config.training.init_from = str(tmp_path / "resnet.pth")
    with pytest.raises(InputError, match=r"1 missing: layer1\.0\.conv1\.weight$"):
        initialize(segmentation, fresh(config), config, classes)


def changed(folder, tmp_path, change):
    """A copy of a checkpoint with other metadata."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / "metadata" / "metadata"
    saved = json.loads(path.read_text())
    change(saved)
    path.write_text(json.dumps(saved))
    return copy


def test_a_checkpoint_of_an_older_versions_keys_is_named_as_such(config, folder, tmp_path):
    def change(saved):
        saved["config"]["model"]["decode_head"]["context"] = "global_context"

    copy = changed(folder, tmp_path, change)
    with pytest.raises(
        InputError, match=r"copy describes no model of this version.*decode_head\.context is"
    ):
        load_pretrained(segmentation, config, copy)


def test_an_unknown_part_is_refused(config, classes, folder):
    config = config.copy_and_resolve_references()
    config.training.init_from, config.training.init_part = str(folder), "head"
    with pytest.raises(InputError, match=r"training\.init_part is 'head'"):
        initialize(segmentation, fresh(config), config, classes)


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: saved.pop("config"),
        lambda saved: saved["config"].pop("model"),
        lambda saved: saved["classes"].update(palette="red"),
        lambda saved: saved["classes"]["palette"].__setitem__(0, [float("inf"), 0, 0]),
        lambda saved: saved["classes"]["names"].__setitem__(0, "\x1b[2J"),
    ],
)
def test_a_folder_whose_metadata_lack_something_is_named(config, folder, tmp_path, damage):
    copy = changed(folder, tmp_path, damage)
    with pytest.raises(InputError, match="copy is not a whole checkpoint"):
        load_pretrained(segmentation, config, copy)


def test_a_checkpoint_with_keys_from_elsewhere_cannot_start_a_training(
    config, classes, folder, tmp_path
):
    def change(saved):
        saved["config"]["model"]["decode_head"]["warmup"] = 5

    config = config.copy_and_resolve_references()
    config.training.init_from = str(changed(folder, tmp_path, change))
    with pytest.raises(
        InputError, match=r"copy describes no model of this version.*no key .*warmup"
    ):
        initialize(segmentation, fresh(config), config, classes)


def test_a_checkpoint_whose_metadata_has_impossible_values_cannot_start_a_training(
    config, classes, folder, tmp_path
):
    def change(saved):
        saved["config"]["model"]["decode_head"]["num_convs"] = -3

    config = config.copy_and_resolve_references()
    config.training.init_from = str(changed(folder, tmp_path, change))
    with pytest.raises(InputError, match=r"copy describes no model.*decode_head\.num_convs is -3"):
        initialize(segmentation, fresh(config), config, classes)


def test_a_published_name_is_not_taken_for_a_folder_of_that_name(config, monkeypatch, tmp_path):
    (tmp_path / "resnet50_v1c").mkdir()
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(
        "gcnet_jax.training.pretrained.fetch_published",
        lambda name: asked.append(name) or tmp_path / "none",
    )
    with pytest.raises(InputError):
        load_pretrained(segmentation, config, "resnet50_v1c")
    assert asked == ["resnet50_v1c"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet50v1c", r"no checkpoint resnet50v1c \(did you mean 'resnet50_v1c'\?\)"),
        ("swin", r"no checkpoint swin, and no published weights .*: .*resnet50_v1c"),
        ("runs/swin/checkpoints/10", r"no checkpoint runs/swin/checkpoints/10$"),
    ],
)
def test_a_misspelt_published_name_is_answered_with_those_there_are(config, name, says):
    with pytest.raises(InputError, match=says):
        load_pretrained(segmentation, config, name)


def test_a_misspelt_published_run_of_a_config_is_answered_likewise(config):
    config = config.copy_and_resolve_references()
    config.published_run = "gcnet_r50-d8_4xb2-40k_cityscape-512x1024"
    meant = r"did you mean 'gcnet_r50-d8_4xb2-40k_cityscapes-512x1024'\?\); there are: "
    with pytest.raises(InputError, match=meant):
        load_pretrained(segmentation, config, "published")


def test_a_config_with_a_value_out_of_range_loads_nothing(config, folder):
    config = config.copy_and_resolve_references()
    config.evaluation.window_stride = (0, 5)
    with pytest.raises(InputError, match=r"evaluation\.window_stride is \(0, 5\)"):
        load_pretrained(segmentation, config, folder)


@pytest.fixture(params=["nan", "variance"])
def spoiled(request, config, classes):
    """A model that computes nothing, with the name of what is wrong in it."""
    model = build_model(config.model, num_classes=classes.num_classes, seed=5)
    norm, classifier = model.backbone.stem[0].norm, model.decode_head.classifier
    variable, name, value = {
        "nan": (classifier.bias, "decode_head.classifier.bias", jnp.nan),
        "variance": (norm.var, "stem.0.norm.var", -1),
    }[request.param]
    variable.set_value(variable[...].at[0].set(value))
    return model, name


def test_own_weights_that_are_no_numbers_are_refused(spoiled, config, classes, tmp_path):
    model, name = spoiled
    save_model(tmp_path / "checkpoint", model, config, classes)
    with pytest.raises(InputError, match=rf"checkpoint: 1 of the weights are .*{name}"):
        load_pretrained(segmentation, config, tmp_path / "checkpoint")
    config = config.copy_and_resolve_references()
    config.training.init_from = str(tmp_path / "checkpoint")
    with pytest.raises(InputError, match=rf"checkpoint: 1 of the weights are .*{name}"):
        initialize(segmentation, fresh(config), config, classes)


def test_foreign_weights_that_are_no_numbers_are_refused(spoiled, config, classes, tmp_path):
    model, _ = spoiled
    write_torch_checkpoint(
        tmp_path / "x.pth", FOREIGN.export_state_dict(model), classes_to_meta(classes)
    )
    with pytest.raises(InputError, match=r"x\.pth: 1 of the weights are "):
        load_pretrained(segmentation, config, tmp_path / "x.pth")


# Code that a checkpoint names --------------------------------------------------------------------

STRANGER = """
from pathlib import Path

from gcnet_jax.nn import GlobalContext

Path(__file__).with_suffix(".imported").touch()


class Block(GlobalContext):
    pass
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A module that can be imported, and says whether it was: name of its block, file it leaves."""
    module = tmp_path / f"stranger_{tmp_path.name}.py"
    module.write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    return f"{module.stem}:Block", module.with_suffix(".imported")


@pytest.mark.parametrize("place", ["backbone", "decode_head"])
@pytest.mark.parametrize("part", ["backbone", "model"])
def test_metadata_of_a_checkpoint_imports_no_module(
    place, part, config, classes, folder, stranger, tmp_path
):
    block, imported = stranger

    def change(saved):
        saved["config"]["model"][place]["context"]["block"] = block
        saved["config"]["model"]["backbone"]["context"]["stages"] = [1]

    copy = changed(folder, tmp_path, change)
    config = config.copy_and_resolve_references()
    config.training.init_from, config.training.init_part = str(copy), part
    with pytest.raises(InputError, match=r"copy has the context block 'stranger_.*not imported"):
        initialize(segmentation, fresh(config), config, classes)
    with pytest.raises(InputError, match=r"copy holds another model than the config"):
        load_pretrained(segmentation, config, copy)
    assert not imported.exists()
    config.model.backbone.context.stages = (1,)
    config.model[place].context.block = block  # the trap works: a config of the user's springs it
    with contextlib.suppress(InputError):  # of the place, which comes after
        fresh(config)
    assert imported.exists()


def test_a_block_of_ones_own_starts_a_training_whose_config_names_it(
    config, classes, stranger, tmp_path
):
    config = config.copy_and_resolve_references()
    config.model.decode_head.context.block, _ = stranger
    model = build_model(config.model, num_classes=classes.num_classes, seed=5)
    save_model(tmp_path / "checkpoint", model, config, classes)
    config.training.init_from, config.training.init_part = str(tmp_path / "checkpoint"), "model"
    started = fresh(config)
    assert "all weights" in initialize(segmentation, started, config, classes)
    assert_same(started, model)


def test_metadata_that_is_nested_without_end_is_named(config, folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "metadata" / "metadata").write_text("[" * 100_000)
    with pytest.raises(InputError, match="copy is not a whole checkpoint"):
        load_pretrained(segmentation, config, copy)
