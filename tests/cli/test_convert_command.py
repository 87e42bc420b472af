"""Own checkpoints out to OpenMMLab's layout and back in, from the command line."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from gcnet_jax.training import read_metadata


@pytest.fixture(scope="session")
def exported(command, tiny, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.pth"
    source = trained / "checkpoints" / "30"
    process = command(
        "convert_checkpoint", *tiny, f"--source={source}", f"--output={path}", "--to=openmmlab"
    )
    assert process.returncode == 0, process.stderr
    assert "7 classes: background, sky" in process.stdout
    return path


def arrays(checkpoint):
    with ocp.StandardCheckpointer() as checkpointer:
        model = checkpointer.restore(checkpoint / "model")
    return {jax.tree_util.keystr(path): x for path, x in jax.tree.leaves_with_path(model)}


def test_a_checkpoint_converted_out_and_back_is_the_same_bitwise(
    exported, command, tiny, trained, tmp_path
):
    output = tmp_path / "back"
    process = command("convert_checkpoint", *tiny, f"--source={exported}", f"--output={output}")
    assert process.returncode == 0, process.stderr
    expected = arrays(trained / "checkpoints" / "30")
    converted = arrays(output)
    assert converted.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(converted[name], array, err_msg=name)
    metadata = read_metadata(trained / "checkpoints" / "30")
    assert read_metadata(output)["classes"] == metadata["classes"]


def test_a_checkpoint_is_converted_with_the_config_that_it_brings(command, trained, tmp_path):
    source, output = trained / "checkpoints" / "30", tmp_path / "model.pth"
    process = command(
        "convert_checkpoint", f"--source={source}", f"--output={output}", "--to=openmmlab"
    )
    assert process.returncode == 0, process.stderr
    assert "7 classes: background, sky" in process.stdout


def test_an_exported_file_is_evaluated_at_several_scales(exported, command, tiny, tmp_path):
    process = command(
        "evaluate",
        *tiny,
        f"--checkpoint={exported}",
        "--tta",
        "--config.evaluation.scales=(0.5, 1.0)",
        f"--output={tmp_path / 'result.json'}",
    )
    assert process.returncode == 0, process.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["inference"] == "whole images, scales (0.5, 1.0) and flips"
    assert result["checkpoint"] == str(exported)
    assert np.sum(result["confusion"]) > 0


@pytest.mark.slow
def test_training_starts_from_an_exported_file_and_resumes_without_it(
    exported, command, tiny, tmp_path
):
    source = tmp_path / "source.pth"
    source.write_bytes(exported.read_bytes())
    arguments = (
        *tiny,
        f"--workdir={tmp_path / 'run'}",
        "--config.training.total_steps=2",
        f"--config.training.init_from={source}",
        "--config.training.init_part=model",
    )
    first = command("train", *arguments)
    assert first.returncode == 0, first.stderr
    assert f"all weights from {source}" in first.stdout
    source.unlink()
    again = command("train", *arguments)
    assert again.returncode == 0, again.stderr
    assert "resuming after step 2" in again.stdout


def test_weights_of_another_model_are_refused_in_one_line(exported, fails, tiny, tmp_path):
    fails(
        "convert_checkpoint",
        *tiny,
        "--config.model.decode_head.channels=12",
        f"--source={exported}",
        f"--output={tmp_path / 'x'}",
        says="misshaped: ",
    )
    assert not (tmp_path / "x").exists()


def test_an_output_that_is_there_is_not_overwritten(fails, tiny, trained, tmp_path):
    (tmp_path / "x").write_text("precious")
    source = trained / "checkpoints" / "30"
    fails(
        "convert_checkpoint",
        *tiny,
        f"--source={source}",
        f"--output={tmp_path / 'x'}",
        says="is there already",
    )
    assert (tmp_path / "x").read_text() == "precious"
