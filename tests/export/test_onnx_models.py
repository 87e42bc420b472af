"""ONNX models of the tasks; `needs_onnx` marks what runs where the extra `onnx` is installed."""

import functools
import importlib.util
import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax import lax
from jax.extend.core import Primitive
from PIL import Image

import gcnet_jax
from gcnet_jax import training
from gcnet_jax.cli import export as export_command
from gcnet_jax.data import resize_image
from gcnet_jax.errors import InputError
from gcnet_jax.export import export_onnx
from gcnet_jax.export.folding import folded
from gcnet_jax.export.onnx_models import OnnxProgram, write_onnx
from gcnet_jax.export.onnx_rewriting import REWRITTEN
from gcnet_jax.ops import conv_general_dilated
from gcnet_jax.task import ArrayShapes, PretrainedModel, Program
from gcnet_jax.tasks import task_of
from gcnet_jax.tasks.detection.boxes.suppression import suppress, suppress_by_class
from gcnet_jax.tasks.detection.onnx_operators import ONNX_OPERATORS
from gcnet_jax.tasks.detection.regions.roi_align import roi_align
from gcnet_jax.training import save_model
from tests.export.conftest import (
    lines_of_docs,
    narrow_config,
    photographs,
    random_model,
    saved_model,
)

SIZES = {"segmentation": (48, 80), "classification": (32, 32), "detection": (32, 32)}

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("jax2onnx", "onnxruntime")),
    reason="the extra is not installed: pip install -e '.[dev,onnx]'",
)


@pytest.fixture(scope="module")
def onnx_of(root, tmp_path_factory):
    """Makes the ONNX model of a task once: its folder, with a checkpoint, and the agreements."""

    @functools.cache
    def make(task):
        folder = epath.Path(tmp_path_factory.mktemp(task))
        config = narrow_config(task, root)
        pretrained = saved_model(config, folder / "checkpoint")
        named = [(str(i), image) for i, image in enumerate(photographs())]
        arguments = (task_of(config), config, pretrained, named, folder / "model.onnx")
        return folder, export_onnx(*arguments, size=SIZES[task])

    return make


@needs_onnx
@pytest.mark.parametrize("task", SIZES)
def test_a_model_runs_in_onnxruntime_with_batches_and_says_what_the_network_says(
    task, root, onnx_of
):
    onnxruntime = importlib.import_module("onnxruntime")
    folder, agreements = onnx_of(task)
    assert {one.batch for one in agreements} == {2}
    assert all(one.agrees for one in agreements)
    assert json.loads((folder / "model.onnx.equality.json").read_text())["agree"]
    content = (folder / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        found = session.run(None, {"images": np.zeros((batch, *SIZES[task], 3), np.uint8)})
        assert {len(result) for result in found} == {batch}
    about = session.get_modelmeta().custom_metadata_map
    config = narrow_config(task, root)
    meaning = task_of(config).data_sets.meanings[config.data.name]
    assert json.loads(about["classes"])["names"] == list(meaning.names)
    results = [output.name for output in session.get_outputs()]
    assert sorted(results) == sorted(json.loads(about["results"]))


@needs_onnx
def test_the_lines_of_the_docs_find_the_classes_that_the_run_finds(
    onnx_of, root, tmp_path, monkeypatch
):
    folder, _ = onnx_of("segmentation")
    size = SIZES["segmentation"]
    photo = resize_image(photographs()[0], size)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    values = {}
    exec(lines_of_docs(root, folder / "model.onnx")["import cv2"], values)
    config = gcnet_jax.load(folder / "checkpoint").config
    config.data.base_scale = size
    expected = gcnet_jax.load(folder / "checkpoint", config=config)(photo).label
    assert len(np.unique(expected)) > 1
    assert (values["classes"][0] == expected).mean() > 0.999


@needs_onnx
def test_convolutions_are_followed_by_operators_that_are_fused_with_them(onnx_of):
    folder, _ = onnx_of("segmentation")
    operators = [node.op_type for node in onnx_nodes(folder / "model.onnx")]
    assert "Relu" in operators
    assert operators.count("Max") + operators.count("Einsum") <= operators.count("Conv") / 2


def onnx_nodes(file):
    return importlib.import_module("onnx").load(str(file)).graph.node


def _program(run, names, rewritten=None):
    """A program of images alone, without weights."""
    return Program(
        run=lambda variables, images: dict(zip(names, run(images), strict=True)),
        results=dict.fromkeys(names, ""),
        shapes=ArrayShapes(),
        measure=lambda *_: [],
        takes_sizes=False,
        rewritten=rewritten or {},
    )


@needs_onnx
def test_an_operator_that_is_not_converted_is_named(tmp_path):
    unheard_of = Primitive("unheard_of")
    unheard_of.def_abstract_eval(lambda x: x)
    for run, operator in (
        (unheard_of.bind, "something of this network .*'unheard_of'"),
        (lambda images: lax.rem(images * 0.5, 2.0), "the operator 'rem'"),  # has a rule, for some
    ):
        program = _program(lambda images, run=run: [run(images)], ["x"])
        with pytest.raises(InputError, match=f"cannot convert {operator}"):
            write_onnx(tmp_path / "model.onnx", program, {}, (8, 8), {})
    assert not list(tmp_path.iterdir())


@needs_onnx
def test_suppression_and_features_of_regions_are_the_librarys_own(tmp_path):
    """In ONNX's operators: of boxes with many ties, on thresholds, empty, and not there."""
    limit, classes, groups = 26, 3, np.arange(40) % 2

    def found(images):
        numbers = images.astype(jnp.float32)
        boxes = numbers[:, :, :4, 0]
        boxes = jnp.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)
        scores, valid = jnp.round(numbers[:, :, :classes, 1] / 64) / 4, numbers[:, :, 0, 2] > 60
        of_classes = boxes[:, :, None] + jnp.arange(classes)[:, None]
        by_class = {"score_threshold": 0.6, "threshold": 0.5, "limit": 60}
        kept = [
            jax.vmap(lambda *x: suppress(*x, groups=groups, threshold=0.5, limit=limit))(
                boxes, scores[..., 0], valid
            ),
            jax.vmap(lambda *x: suppress_by_class(*x, **by_class))(boxes, scores, valid),
            jax.vmap(lambda *x: suppress_by_class(*x, **by_class))(of_classes, scores, valid),
        ]
        batch, count = boxes.shape[:2]
        pyramid = numbers, numbers[:, : count // 2, :4]
        features = roi_align(
            pyramid,
            boxes.reshape(-1, 4) / 4,
            jnp.repeat(jnp.arange(batch), count),
            (jnp.arange(batch * count) % 3).astype(jnp.int32),  # there is no level 2
            strides=(1, 2),
            bins=3,
        )
        kept = [x for own in kept for x in (jnp.where(own.valid, own.indices, 0), own.valid)]
        return [*kept, features]

    program = _program(found, list("abcdefg"), ONNX_OPERATORS)
    write_onnx(tmp_path / "model.onnx", program, {}, (40, 8), {})
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 8, 3), np.uint8)
    images[:, :, :2, 0] %= 12
    images[:, :, 2:4, 0] %= 9
    ours, theirs = program.run({}, images), OnnxProgram(tmp_path / "model.onnx")(images)
    for name in "abcdef":
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert np.all(theirs["b"])
    assert np.all(np.any(theirs["d"], axis=1))
    assert not np.any(np.all(theirs["d"], axis=1))
    np.testing.assert_allclose(ours["g"], theirs["g"], rtol=1e-4, atol=1e-2)


def test_operators_that_are_rewritten_have_the_results_of_jaxs_own():
    x = np.arange(-12, 12, dtype=np.int32).reshape(2, 3, 4)
    for config in (((0, 0, 0), (1, 2, 0), (0, 3, 0)), ((0, 0, 0), (-1, 0, 1), (0, 0, 0))):
        padded = REWRITTEN["pad"]({"padding_config": config}, x, np.int32(7))
        np.testing.assert_array_equal(padded, lax.pad(x, np.int32(7), config))
    for divisor in (5, -5):
        rest = REWRITTEN["rem"]({}, x, np.int32(divisor))
        np.testing.assert_array_equal(rest, lax.rem(x, np.full_like(x, divisor)))


def test_networks_that_it_is_not_for_and_wrong_sizes_end_in_one_line(
    root, tmp_path, monkeypatch, capsys
):
    config = narrow_config("segmentation", root)
    model, meaning = random_model(config)
    pretrained = PretrainedModel(model, meaning, tmp_path / "run")
    arguments = (task_of(config), config, pretrained, [], tmp_path / "model.onnx")
    config.model.dtype = "bfloat16"
    with pytest.raises(InputError, match=r"--config\.model\.dtype=float32"):
        export_onnx(*arguments)
    config.model.dtype = "float32"
    checkpoint = tmp_path / "checkpoint"
    save_model(checkpoint, model, config, meaning)
    options = [str(checkpoint), f"--output={tmp_path / 'model.onnx'}"]
    assert export_command.main([*options, "--to=onnx", "--size=64"]) == 2
    assert export_command.main([*options, "--size=64,64"]) == 2
    assert "--size" in capsys.readouterr().err
    monkeypatch.setattr(training, "load_pretrained", None)  # which takes long
    monkeypatch.setitem(sys.modules, "jax2onnx", types.ModuleType("jax2onnx"))
    for missing in ("onnxruntime", "jax2onnx"):
        monkeypatch.setitem(sys.modules, missing, None)
        assert export_command.main([*options, "--to=onnx"]) == 1
        error = capsys.readouterr().err
        assert f"needs {missing} " in error
        assert "pip install 'gcnet-jax[onnx]'" in error
        with pytest.raises(InputError, match=f"needs {missing} "):
            export_onnx(*arguments)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


def test_a_folded_program_has_operators_of_jax_alone_with_the_weights_computed():
    keys = jax.random.split(jax.random.key(0))
    x, kernel = (
        jax.random.normal(key, shape)
        for key, shape in zip(keys, ((2, 8, 8, 64), (3, 3, 64, 64)), strict=True)
    )

    def scaled(x):
        by_platform = lax.platform_dependent(x, cpu=lambda x: x * 0, default=lambda x: x + 1)
        return conv_general_dilated(by_platform, kernel * jnp.arange(64), (1, 1), ((1, 1), (1, 1)))

    run = folded(scaled, x, rewritten={"add": lambda params, x, y: x - y})
    operators = [equation.primitive.name for equation in jax.make_jaxpr(run)(x).eqns]
    assert operators == ["sub", "conv_general_dilated"]
    expected = lax.conv_general_dilated(
        x - 1, kernel * jnp.arange(64), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(run(x)[0], expected, rtol=1e-5, atol=1e-4)
