"""ONNX models of the tasks; `needs_onnx` marks what runs where the extra `onnx` is installed."""

import importlib.util
import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gcnet_jax import training
from gcnet_jax.cli import export as export_command
from gcnet_jax.errors import InputError
from gcnet_jax.export import export_onnx
from gcnet_jax.export.folding import folded
from gcnet_jax.export.onnx_models import write_onnx
from gcnet_jax.ops import conv_general_dilated
from gcnet_jax.task import ArrayShapes, PretrainedModel, Program
from gcnet_jax.tasks import task_of
from gcnet_jax.training import save_model
from tests.export.conftest import narrow_config, photographs, random_model

SIZES = {"segmentation": (48, 80), "classification": (32, 32), "detection": (32, 32)}

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("jax2onnx", "onnxruntime")),
    reason="the extra is not installed: pip install -e '.[dev,onnx]'",
)


@needs_onnx
@pytest.mark.parametrize("task", SIZES)
def test_a_model_runs_in_onnxruntime_with_batches_and_says_what_the_network_says(
    task, root, tmp_path
):
    onnxruntime = importlib.import_module("onnxruntime")
    config = narrow_config(task, root)
    model, meaning = random_model(config)
    pretrained = PretrainedModel(model, meaning, tmp_path / "run")
    named = [(str(i), image) for i, image in enumerate(photographs())]
    size, file = SIZES[task], tmp_path / "model.onnx"
    agreements = export_onnx(task_of(config), config, pretrained, named, file, size=size)
    assert {one.batch for one in agreements} == {2}
    assert all(one.agrees for one in agreements)
    assert json.loads((tmp_path / "model.onnx.equality.json").read_text())["agree"]
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        found = session.run(None, {"images": np.zeros((batch, *size, 3), np.uint8)})
        assert {len(result) for result in found} == {batch}
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"])["names"] == list(meaning.names)
    names = [output.name for output in session.get_outputs()]
    assert sorted(names) == sorted(json.loads(about["results"]))


@needs_onnx
def test_the_operator_of_a_detector_that_is_not_converted_is_named(root, tmp_path):
    config = narrow_config("detection", root)
    model, meaning = random_model(config)
    pretrained = PretrainedModel(model, meaning, tmp_path / "run")
    named = [("0", photographs()[0])]
    with pytest.raises(InputError, match=r"cannot convert the operator '\w+' of this network"):
        export_onnx(task_of(config), config, pretrained, named, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


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


def test_a_converted_model_that_is_not_understood_ends_in_one_line(tmp_path, monkeypatch):
    """Such as one with other poolings than the program has."""
    node = types.SimpleNamespace(op_type="MaxPool", attribute=[])
    model = types.SimpleNamespace(graph=types.SimpleNamespace(node=[node]))
    converter = types.ModuleType("jax2onnx")
    converter.to_onnx = lambda *_, **__: model
    monkeypatch.setitem(sys.modules, "jax2onnx", converter)
    monkeypatch.setitem(sys.modules, "onnx", types.ModuleType("onnx"))
    program = Program(
        run=lambda variables, images: {"x": images + 1},
        results={"x": ""},
        shapes=ArrayShapes(only=[(8, 8)]),
        measure=lambda *_: [],
        takes_sizes=False,
    )
    with pytest.raises(InputError, match="jax2onnx cannot convert something of this network"):
        write_onnx(tmp_path / "x.onnx", program, {}, (8, 8), {})
    assert not list(tmp_path.iterdir())


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
