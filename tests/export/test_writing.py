"""What is written when a network is exported, and what is made of it without this library."""

import datetime
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath
from jax import export
from PIL import Image
from rich.console import Console

import gcnet_jax
from gcnet_jax.cli import export as export_command
from gcnet_jax.data import only_process
from gcnet_jax.errors import InputError
from gcnet_jax.export import export_stablehlo, writing
from gcnet_jax.ops import conv_general_dilated
from gcnet_jax.task import PretrainedModel
from gcnet_jax.tasks import task_of
from tests.export.conftest import (
    entries_of,
    lines_of_docs,
    narrow_config,
    of_classification,
    of_detection,
    of_segmentation,
    photographs,
    random_model,
)


@of_classification
def test_a_file_has_programs_and_no_model_and_names_the_versions_that_read_it(exported):
    with pytest.raises(InputError, match="has programs and no model"):
        _ = gcnet_jax.load(exported.file).model
    metadata = json.loads(entries_of(exported.file)["metadata.json"])
    assert metadata["jax"]["written_by"] == metadata["versions"]["jax"] == jax.__version__
    assert "six months" in metadata["jax"]["read_by"]
    datetime.date.fromisoformat(metadata["written"])
    assert metadata["jax"]["platforms"] == ["cpu", "cuda", "tpu"]
    assert metadata["source"] == "/".join(exported.checkpoint.parts[-3:])
    assert metadata["input"]["mean"] == list(gcnet_jax.ops.IMAGE_MEAN)


@of_segmentation
def test_the_lines_of_the_docs_run_where_this_library_is_not(exported, root, tmp_path):
    lines = lines_of_docs(root, exported.file)
    photo = photographs()[0]
    Image.fromarray(photo).save(tmp_path / "photo.png")
    code = ["import sys; sys.modules['gcnet_jax'] = None"]
    code += [
        lines["import io"],
        lines["photo ="],
        lines["program ="],
        "np.save('found.npy', classes)",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=tmp_path, check=True)
    found = np.load(tmp_path / "found.npy")
    expected = gcnet_jax.load(exported.checkpoint)
    assert max(photo.shape[:2]) != max(expected.config.data.base_scale)  # so it is resized
    agreement = (found == expected(photo).label).mean()
    assert agreement > 0.999
    assert len(np.unique(found)) > 1


@of_classification
def test_the_lines_of_the_docs_on_classifiers_run(exported, root, tmp_path, monkeypatch):
    lines = lines_of_docs(root, exported.file)
    photo, values = photographs()[0], {}
    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    exec("\n".join([lines["import io"], lines["from PIL"]]), values)
    expected = gcnet_jax.load(exported.checkpoint)(photo).probabilities
    np.testing.assert_allclose(values["likely"], expected, atol=1e-5)


@of_detection
def test_the_lines_of_the_docs_on_detectors_run(exported, root, tmp_path, monkeypatch):
    lines = lines_of_docs(root, exported.file)
    photo, values = photographs()[0], {}
    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    exec("\n".join([lines["import io"], lines["photo ="], lines["files ="]]), values)
    expected = gcnet_jax.load(exported.checkpoint)(photo)
    assert len(expected.boxes) > 0
    np.testing.assert_allclose(values["boxes"], expected.boxes, atol=0.1)


@of_classification
def test_where_file_and_model_disagree_no_file_is_left(exported, root, tmp_path, monkeypatch):
    config = narrow_config("classification", root)
    model, meaning = random_model(config)
    make = writing.stablehlo_file

    def spoiled(*arguments, **options):
        content = make(*arguments, **options)
        weights = {name: x * 1.5 for name, x in content.weights.items()}
        return content._replace(weights=weights)

    monkeypatch.setattr(writing, "stablehlo_file", spoiled)
    pretrained = PretrainedModel(model, meaning, exported.checkpoint)
    with pytest.raises(InputError, match=r"differ from the model's: .* No file is written"):
        export_stablehlo(
            task_of(config), config, pretrained, [("a", photographs()[0])], tmp_path / "x.gcnet"
        )
    assert not list(tmp_path.iterdir())


@of_classification
def test_one_export_at_a_time_writes_a_file_and_takes_over_what_a_killed_one_left(
    exported, root, tmp_path
):
    config = narrow_config("classification", root)
    model, meaning = random_model(config)
    pretrained = PretrainedModel(model, meaning, exported.checkpoint)
    output = epath.Path(tmp_path / "x.gcnet")
    arguments = (task_of(config), config, pretrained, [("a", photographs()[0])], output)
    left = tmp_path / ".x.gcnet.unchecked"
    left.mkdir()
    (left / "x.gcnet").write_bytes(b"half")
    (tmp_path / "x.gcnet.equality.json").write_text("of one that was killed")
    with only_process(left, Console()):
        with pytest.raises(InputError, match="another process is writing"):
            export_stablehlo(*arguments)
        assert left.is_dir()
    told = []
    export_stablehlo(*arguments, tell=told.append)
    assert told == [
        "writing the file",
        "writing the program probabilities, 1 of 1",
        "comparing probabilities of a",
    ]
    assert json.loads((tmp_path / "x.gcnet.equality.json").read_text())["agree"]
    written = output.read_bytes()
    with pytest.raises(InputError, match=r"x\.gcnet is there already; give a new name"):
        export_stablehlo(*arguments)
    assert output.read_bytes() == written
    assert sorted(x.name for x in tmp_path.iterdir()) == ["x.gcnet", "x.gcnet.equality.json"]


@of_classification
@pytest.mark.parametrize("failing", ["x.gcnet", "x.gcnet.equality.json"])
def test_where_the_file_or_its_report_cannot_be_written_neither_is_left(
    exported, root, tmp_path, monkeypatch, failing
):
    write = writing.write_whole
    written = []

    def full_disk(path, content):
        written.append(path.name)
        if path.name == failing:
            raise InputError("no space is left")
        write(path, content)

    monkeypatch.setattr(writing, "write_whole", full_disk)
    # What is compared is the file's matter.
    monkeypatch.setattr(writing, "write_exported", lambda path, content: path.touch())
    monkeypatch.setattr(writing, "stablehlo_file", lambda *_, **__: None)
    monkeypatch.setattr(writing, "read_programs", lambda path: {})
    monkeypatch.setattr(writing, "compare", lambda *_: [])
    config = narrow_config("classification", root)
    model, meaning = random_model(config)
    pretrained = PretrainedModel(model, meaning, exported.checkpoint)
    with pytest.raises(InputError, match="no space is left"):
        export_stablehlo(task_of(config), config, pretrained, [], tmp_path / "x.gcnet")
    assert written == ["x.gcnet.equality.json", "x.gcnet"][: len(written)]
    assert not list(tmp_path.iterdir())


@of_classification
def test_the_command_writes_a_file_and_its_report(exported, tmp_path, capsys):
    Image.fromarray(photographs()[0]).save(tmp_path / "photo.png")
    output = tmp_path / "network.gcnet"
    arguments = [str(exported.checkpoint), f"--output={output}", str(tmp_path / "photo.png")]
    assert export_command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "says what" in printed
    report = json.loads((tmp_path / "network.gcnet.equality.json").read_text())
    assert report["agree"]
    assert [one["image"] for one in report["images"]] == ["photo"]
    assert f"{output.stat().st_size / 2**20:.1f} MiB" in printed
    assert gcnet_jax.load(output)(photographs()[0]).name
    assert export_command.main(arguments) == 1
    assert "is there already" in capsys.readouterr().err
    other = [str(exported.checkpoint), f"--output={tmp_path / 'other.gcnet'}"]
    assert export_command.main([*other, "--config.data.data_dir=nowhere"]) == 1
    assert "--images=FILE" in capsys.readouterr().err
    (tmp_path / "clip.mp4").touch()
    assert export_command.main([*other, str(tmp_path / "clip.mp4")]) == 2
    assert "clip.mp4 is a video; expected images" in capsys.readouterr().err
    missing = tmp_path / "missing.png"
    assert export_command.main([*other, f"--images={missing}"]) == 1
    assert str(missing) in capsys.readouterr().err
    folder = tmp_path / "photo.png"  # which is a file
    nowhere = [str(exported.checkpoint), f"--output={folder / 'other.gcnet'}"]
    assert export_command.main([*nowhere, str(tmp_path / "photo.png")]) == 1
    assert "photo.png" in capsys.readouterr().err
    assert not (tmp_path / "other.gcnet").exists()


def test_a_convolution_of_open_sizes_is_that_of_the_size_it_is_called_with():
    """On CPUs by tiles, of which nobody knows how many there are when it is exported."""
    dilation = 4
    keys = jax.random.split(jax.random.key(0))
    x, kernel = (
        jax.random.normal(k, s)
        for k, s in zip(keys, ((1, 24, 16, 64), (3, 3, 64, 64)), strict=True)
    )

    def convolve(x, kernel):
        return conv_general_dilated(
            x, kernel, (1, 1), ((dilation,) * 2,) * 2, rhs_dilation=(dilation,) * 2
        )

    height, width = export.symbolic_shape("8*h, 8*w")
    shapes = jax.ShapeDtypeStruct((1, height, width, 64), x.dtype), kernel
    program = export.export(jax.jit(convolve), platforms=("cpu", "cuda", "tpu"))(*shapes)
    np.testing.assert_allclose(program.call(x, kernel), convolve(x, kernel), rtol=1e-3, atol=1e-3)
