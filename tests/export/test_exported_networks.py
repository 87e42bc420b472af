"""Exported files of every task: what they say beside the run that they are of."""

import json
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from jax import export
from PIL import Image

import gcnet_jax
from gcnet_jax.export import export_stablehlo
from gcnet_jax.export.exported_file import write_exported
from gcnet_jax.export.network_files import stablehlo_file
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.task import PretrainedModel
from gcnet_jax.tasks import task_of
from gcnet_jax.training import save_model
from tests.export.conftest import narrow_config, photographs, random_model

COMPARED = {
    "segmentation": {(name, name) for name in ("classes", "probabilities", "logits")},
    "classification": {("probabilities", "probabilities")},
    "detection": {("objects", name) for name in ("objects", "boxes", "scores", "masks")},
}


def arrays_of(result):
    """What a result of any task says, as arrays."""
    if hasattr(result, "arrays"):
        return result.arrays()
    return {"label": np.asarray(result.label), "scores": result.scores()}


def test_a_loaded_file_says_what_the_run_says_of_images_of_any_sizes_alone_and_in_lists(exported):
    run, file = gcnet_jax.load(exported.checkpoint), gcnet_jax.load(exported.file)
    images = photographs()
    assert type(file) is type(run)
    assert file.classes == run.classes
    assert file.config.task == exported.task
    ours, theirs = file(images), run(images)
    if exported.task != "detection":  # which takes a program more for each
        ours, theirs = [*ours, file(images[2])], [*theirs, run(images[2])]
    for one, expected in zip(ours, theirs, strict=True):
        assert type(one) is type(expected)
        found, right = arrays_of(one), arrays_of(expected)
        assert found.keys() == right.keys()
        for name, array in right.items():
            np.testing.assert_allclose(found[name], array, atol=1e-3, err_msg=name)
            assert array.size


def test_the_report_beside_a_file_says_how_far_it_is_from_the_model(exported):
    report = json.loads((exported.file.parent / "network.gcnet.equality.json").read_text())
    assert report["agree"]
    assert {one["image"] for one in report["images"]} == {"photo 0", "photo 1"}
    assert {one["batch"] for one in report["images"]} == {2}
    deviations = [one["deviation"] for one in report["images"] if one["deviation"] is not None]
    assert deviations
    assert max(deviations) < 1e-5
    assert {one["equal"] for one in report["images"]} <= {1.0, None}
    compared = {(one["program"], one["result"]) for one in report["worst"]}
    assert compared == COMPARED[exported.task]


def test_the_programs_of_a_detector_are_for_all_platforms_and_any_number_of_images(root, tmp_path):
    config = narrow_config("detection", root)
    model, meaning = random_model(config)
    graphdef, variables = split_for_evaluation(model)
    programs = task_of(config).export.programs(graphdef, config)
    assert list(programs) == ["objects"]
    content = stablehlo_file(
        programs, variables, config, meaning, source=tmp_path / "run", seen="whole", tell=print
    )
    for serialized in content.programs.values():
        program = export.deserialize(bytearray(serialized))
        assert program.platforms == ("cpu", "cuda", "tpu")
        assert {str(x.shape[0]) for x in program.out_avals} == {"batch"}
    write_exported(tmp_path / "x.gcnet", content)
    network = gcnet_jax.load(tmp_path / "x.gcnet")
    assert network.classes == meaning
    assert network.config.eq_as_configdict(config)


def in_windows(config):
    config.evaluation.mode = "slide"
    config.evaluation.window, config.evaluation.window_stride = (64, 64), (48, 48)


def of_several_shapes(config):
    config.data.base_scale = (96, 64)


def with_deformable_convolutions_and_groups(config):
    backbone = config.model.backbone
    backbone.depth, backbone.groups, backbone.base_width = 50, 2, 4
    backbone.deformable_stages = (0,)


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("task", "change"),
    [
        ("segmentation", in_windows),
        ("detection", of_several_shapes),
        ("detection", with_deformable_convolutions_and_groups),
    ],
)
def test_networks_of_other_kinds_are_exported_too(task, change, root, tmp_path):
    config = narrow_config(task, root)
    change(config)
    model, meaning = random_model(config)
    save_model(tmp_path / "run", model, config, meaning)
    pretrained, images = PretrainedModel(model, meaning, tmp_path / "run"), photographs()
    tall = [np.ascontiguousarray(image.swapaxes(0, 1)) for image in images[2:]]
    named = [(str(i), image) for i, image in enumerate([images[2], *tall])]
    export_stablehlo(task_of(config), config, pretrained, named, tmp_path / "x.gcnet")
    run, file = gcnet_jax.load(tmp_path / "run"), gcnet_jax.load(tmp_path / "x.gcnet")
    for image in (images[2], *tall):
        found, right = arrays_of(file(image)), arrays_of(run(image))
        for name, array in right.items():
            np.testing.assert_allclose(found[name], array, atol=1e-3, err_msg=name)


def test_the_lines_of_the_readme_print_the_shares_that_the_network_says(
    export_of, root, tmp_path, monkeypatch, capsys
):
    (lines,) = re.findall(r"<<'END'\n(.*?)\nEND\n", (root / "README.md").read_text(), re.S)
    file = export_of("segmentation").file
    shutil.copy(file, tmp_path / "shapes.gcnet")
    scene = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    Image.fromarray(scene).save(tmp_path / "scene.png")

    config = gcnet_jax.load(file).config
    config.data.base_scale = (128, 64)  # the quickstart's
    label = gcnet_jax.load(file, config=config)(scene).label
    found = {"shapes.onnx": [label[None]]}
    session = SimpleNamespace(run=lambda outputs, inputs: found.pop("shapes.onnx"))
    onnxruntime = SimpleNamespace(InferenceSession={"shapes.onnx": session}.__getitem__)

    monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime)
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "README.md", "exec"), {})
    printed = capsys.readouterr().out.split("]\n")
    shares = [np.array(line.strip(" [\n").split(), float) for line in printed if line]
    expected = np.bincount(np.ravel(label)) / label.size
    assert len(shares) == 2
    assert expected.max() < 1
    for share in shares:
        np.testing.assert_allclose(share, expected, atol=1e-6)
