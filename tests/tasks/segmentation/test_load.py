"""From a name to a network, and from an image to a result, in Python."""

import functools
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gcnet_jax
from gcnet_jax.config import find_config
from gcnet_jax.errors import InputError
from gcnet_jax.interop import PublishedFile, published, published_files
from gcnet_jax.tasks import runs as loading
from gcnet_jax.tasks.segmentation.trained_segmentor import TrainedSegmentor
from gcnet_jax.tasks.segmentation.weights import FOREIGN
from gcnet_jax.training.pretrained import save_model

PUBLISHED = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"


@pytest.fixture(scope="module")
def net(workdir):
    return gcnet_jax.load(workdir)


@pytest.fixture(scope="module")
def result(net, photo):
    return net(photo)


def test_a_run_brings_its_config_classes_and_model(net, narrow_config, classes, workdir):
    assert net.config == narrow_config
    assert net.classes == classes
    assert net.source == workdir / "checkpoints" / "3"
    assert isinstance(net.model, gcnet_jax.Segmentor)


def test_the_label_is_the_class_of_the_largest_score(result, photo):
    assert result.label.shape == photo.shape[:2]
    assert result.label.dtype == np.uint8
    scores = result.scores()
    assert scores.shape == (*photo.shape[:2], 7)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(result.label, scores.argmax(-1))
    assert len(result.shares) > 1


def test_checkpoints_runs_and_files_give_the_same_network(workdir, pth, narrow_config, net):
    for source, config in (
        (workdir / "checkpoints" / "3", None),
        (workdir, narrow_config),
        (pth, narrow_config),
    ):
        other = gcnet_jax.load(source, config=config)
        assert (other.config, other.classes) == (net.config, net.classes)
        assert_same(other.model, net.model)


def assert_same(model, other):
    theirs = FOREIGN.export_state_dict(other)
    for name, array in FOREIGN.export_state_dict(model).items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_paths_images_and_arrays_are_the_same_image(net, result, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    stored = Image.fromarray(np.rot90(photo))
    stored.save(tmp_path / "stored.png", exif=exif)
    with Image.open(tmp_path / "stored.png") as opened:
        given = [tmp_path / "stored.png", str(tmp_path / "stored.png"), opened, photo]
        results = net(given)
    assert isinstance(results, list)
    for each in results:
        np.testing.assert_array_equal(each.image, photo)
        np.testing.assert_array_equal(each.label, result.label)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_images_of_all_modes_are_what_their_files_are(net, mode, tmp_path, photo):
    image = Image.fromarray(photo)
    image = (
        Image.fromarray(photo[..., 0].astype(np.uint16) * 257)
        if mode == "I;16"
        else image.convert(mode)
    )
    assert image.mode == mode
    image.save(tmp_path / "x.png")
    (from_file,) = net([tmp_path / "x.png"])
    (from_memory,) = net([image])
    np.testing.assert_allclose(from_memory.image.astype(int), from_file.image, atol=1)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.ones((9, 9, 3), np.float32), "dtype float32; expected uint8"),
        (np.ones((9, 9), np.uint8), r"shape \(9, 9\); expected \(height, width, 3\)"),
        (np.ones((0, 9, 3), np.uint8), r"shape \(0, 9, 3\); expected \(height, width, 3\)"),
        (np.ones((3, 9, 8), np.uint8), r"shape \(3, 9, 8\).*transpose\(1, 2, 0\)"),
        (np.ones((2, 9, 9, 3), np.uint8), r"shape \(2, 9, 9, 3\).*give the images as a list"),
        (Image.new("F", (9, 9)), "mode F; expected 8 or 16 bits"),
        (b"bytes", "the image is a bytes; expected a path, a Pillow image"),
        ("nowhere.png", "^there is no image nowhere.png$"),
    ],
)
def test_what_is_no_image_is_refused_by_what_it_is(net, image, says):
    with pytest.raises(InputError, match=says):
        net(image)


def test_a_bare_file_needs_its_config_by_name_whatever_it_is_called(pth, tmp_path):
    digits = next(iter(published_files().values())).sha256_prefix
    copy = tmp_path / f"gcnet_r50-d8_512x1024_40k_cityscapes_20200618_074436-{digits}.pth"
    copy.write_bytes(pth.read_bytes())
    for path in (pth, copy):
        with pytest.raises(InputError, match=r"does not say which network.*config=NAME"):
            gcnet_jax.load(path)


def test_a_file_with_the_content_of_a_published_one_needs_none(
    pth, narrow_config, net, monkeypatch
):
    digest = hashlib.sha256(pth.read_bytes()).hexdigest()
    files = {PUBLISHED: PublishedFile("https://localhost/small.pth", digest[:8])}
    monkeypatch.setattr(
        loading, "published_name", functools.partial(published.published_name, files=files)
    )
    configs = {find_config(PUBLISHED): narrow_config}
    monkeypatch.setattr(loading, "load_config", configs.__getitem__)
    assert_same(gcnet_jax.load(pth).model, net.model)


def test_a_name_of_a_run_here_and_of_a_published_one_is_not_guessed_at(
    workdir, net, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    fetched = []
    monkeypatch.setattr(
        loading, "load_pretrained", lambda task, config, source: fetched.append(source)
    )
    monkeypatch.setattr(TrainedSegmentor, "__init__", lambda *args: None)
    (tmp_path / PUBLISHED).mkdir()  # which is no network
    gcnet_jax.load(PUBLISHED)
    shutil.copytree(workdir, tmp_path / PUBLISHED, dirs_exist_ok=True)
    with pytest.raises(
        InputError, match=f"give ./{PUBLISHED} for the folder, or gcnet/{PUBLISHED}"
    ):
        gcnet_jax.load(PUBLISHED)
    gcnet_jax.load(f"gcnet/{PUBLISHED}")
    gcnet_jax.load(f"./{PUBLISHED}")
    assert fetched[:2] == [PUBLISHED, PUBLISHED]
    assert Path(fetched[2]).parent == tmp_path / PUBLISHED / "checkpoints"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("gcnet_r50-d8_4xb2-40k_cityscapes-512x1023", "did you mean 'gcnet_r50-d8_4xb2-40k"),
        ("nowhere/at/all", "there is no file or folder nowhere/at/all"),
        ("context_shapes/gcnet", "has no published weights; train it"),
        ("resnet50_v1c", "a backbone alone"),
    ],
)
def test_names_of_nothing_that_can_be_loaded_are_explained(source, says):
    with pytest.raises(InputError, match=says):
        gcnet_jax.load(source)


@pytest.mark.parametrize("source", [3, None, b"runs/camvid", ["runs/camvid"]])
def test_what_is_neither_a_name_nor_a_path_is_refused(source, narrow_config, net, result, tmp_path):
    kind = type(source).__name__
    with pytest.raises(InputError, match=f"the source is a {kind}; expected the name of a publ"):
        gcnet_jax.load(source)
    with pytest.raises(InputError, match=f"the config is a {kind}; expected a config"):
        gcnet_jax.train(source, tmp_path)
    for call in (
        lambda: gcnet_jax.load_model(narrow_config, source),
        lambda: gcnet_jax.train(narrow_config, source),
        lambda: gcnet_jax.evaluate(source),
        lambda: result.save(source),
    ):
        with pytest.raises(InputError, match=f"is a {kind}; expected a path"):
            call()


def test_a_folder_that_has_nothing_to_load_is_said_to_be_what_it_is(workdir, tmp_path):
    with pytest.raises(InputError, match="is neither a run nor a checkpoint; expected a folder"):
        gcnet_jax.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    for made in (None, "checkpoints"):
        if made:
            (tmp_path / made).mkdir()
        with pytest.raises(InputError, match=f"there is no checkpoint in {tmp_path} yet: the fir"):
            gcnet_jax.load(tmp_path)
    with pytest.raises(InputError, match=f"there is no run {tmp_path / 'nowhere'}$"):
        gcnet_jax.evaluate(tmp_path / "nowhere")


def test_a_file_that_is_no_checkpoint_is_not_asked_for_its_config(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture either")
    with pytest.raises(InputError, match=r"text\.jpg") as raised:
        gcnet_jax.load(tmp_path / "text.jpg")
    assert "config" not in str(raised.value)


@pytest.mark.parametrize("opacity", [5, -0.1, float("nan")])
def test_an_opacity_that_is_none_is_refused(result, opacity):
    with pytest.raises(InputError, match=f"opacity is {opacity}; expected a number from 0 to 1"):
        result.picture(opacity=opacity)
    assert result.picture(opacity=1).size == (77, 50)


def test_the_folder_of_all_checkpoints_is_not_taken_for_one(workdir):
    with pytest.raises(InputError, match="holds the checkpoints of a run"):
        gcnet_jax.load(workdir / "checkpoints")


def test_a_checkpoint_does_not_choose_code_to_run(narrow_config, classes, narrow_model, tmp_path):
    (tmp_path / "hostile.py").write_text("raise SystemExit('it ran')")
    config = narrow_config.copy_and_resolve_references()
    config.model.decode_head.context.block = "hostile:Block"
    save_model(tmp_path / "3", narrow_model, config, classes)
    with pytest.raises(InputError, match=r"'hostile:Block' .*, whose code is not imported"):
        gcnet_jax.load(tmp_path / "3")


def test_importing_the_package_and_its_names_imports_no_jax(root):
    code = "import sys, gcnet_jax; assert 'load' in dir(gcnet_jax); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_a_run_is_evaluated_by_its_folder_alone(workdir, narrow_config, capsys):
    found = gcnet_jax.evaluate(workdir, "val")
    assert (found.dataset, found.split, found.images) == ("context_shapes", "val", 100)
    assert found.confusion.sum() == 100 * 64 * 128
    assert found.summary["mIoU"] == found.to_plain()["summary"]["mIoU"]
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="dev"):
        gcnet_jax.evaluate(workdir, "dev", config=narrow_config)


def test_a_run_that_names_no_task_is_of_before_there_were_several(workdir, tmp_path, net):
    shutil.copytree(workdir, tmp_path / "run")
    file = tmp_path / "run" / "checkpoints" / "3" / "metadata" / "metadata"
    metadata = json.loads(file.read_text())
    del metadata["config"]["task"]
    file.write_text(json.dumps(metadata))
    assert gcnet_jax.load(tmp_path / "run").config == net.config
