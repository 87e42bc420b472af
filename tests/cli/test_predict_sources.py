"""What `gcnet predict` takes beside image files, and what it leaves beside labels and overlays."""

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gcnet_jax.cli import predict
from gcnet_jax.cli.image_sources import expand_patterns, find_images
from gcnet_jax.errors import InputError


class Standard(io.TextIOWrapper):
    """A standard stream that is a pipe, with some bytes in it."""

    def __init__(self, content: bytes = b""):
        super().__init__(io.BytesIO(content))


@pytest.fixture
def arguments(trained, tiny):
    return (*tiny, f"--workdir={trained}")


@pytest.fixture(scope="module")
def photo():
    """The bytes of a PNG of 64x128 in patches."""
    patches = np.random.default_rng(0).integers(0, 256, (4, 8, 3), np.uint8)
    return cv2.imencode(".png", patches.repeat(16, 0).repeat(16, 1))[1].tobytes()


@pytest.fixture(scope="module")
def clip(photo):
    """`clip(path)`: writes three frames as a Motion JPEG under a name that ends in .avi."""
    frame = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)

    def write(path):
        code = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(path), code, 5, (128, 64))
        for _ in range(3):
            writer.write(frame)
        writer.release()
        return path

    return write


def test_an_image_on_standard_input_becomes_files_or_standard_output(
    command, arguments, photo, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("sys.stdin", Standard(photo))
    finished = command("predict", *arguments, f"--output_dir={tmp_path / 'out'}", "-")
    assert finished.returncode == 0, finished.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"stdin_label.png", "stdin_overlay.png", "index.html"}

    monkeypatch.setattr("sys.stdin", Standard(photo))
    with contextlib.redirect_stdout(Standard()) as output:
        status = predict.main([*arguments, "-"])
    assert status == 0
    shown = np.asarray(Image.open(io.BytesIO(output.buffer.getvalue())))
    expected = np.asarray(Image.open(tmp_path / "out" / "stdin_overlay.png"))
    assert (shown != expected).mean() < 1e-2  # of several devices, where a tie may fall otherwise
    said = capsys.readouterr().err
    assert "1 image(s) predicted with" in said
    assert "results" not in said  # which are there no more

    monkeypatch.setattr("sys.stdin", Standard(b"no image"))
    finished = command("predict", *arguments, f"--output_dir={tmp_path / 'none'}", "-")
    assert finished.returncode == 1
    assert "left out: standard input: not an image" in finished.stderr
    assert "standard input: not an image" in (tmp_path / "none" / "index.html").read_text()


def test_standard_output_is_for_one_image_alone(command, arguments, photo, tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(photo)
    monkeypatch.setattr("sys.stdin", Standard(photo))
    finished = command("predict", *arguments, "-", tmp_path / "x.png")
    assert finished.returncode == 2
    assert "--output_dir is required" in finished.stderr


def test_a_page_shows_all_results_and_legends_stand_below_them(command, arguments, photo, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a&b.png").write_bytes(photo)
    (folder / "cut.png").write_bytes(photo[:100])
    given = (*arguments, f"--output_dir={out}", "--recursive", "--legend", folder)
    finished = command("predict", *given)
    assert finished.returncode == 1
    page = (out / "index.html").read_text()
    assert 'href="./deep/a%26b_overlay.png"' in page
    assert "a&amp;b" in page
    assert "cut.png" in page.partition("Left out")[2]
    with Image.open(out / "deep" / "a&b_overlay.png") as overlay:
        assert overlay.height > 64
    (out / "deep").rename(tmp_path / "elsewhere")
    (out / "index.html").write_text("my own page")
    finished = command("predict", *given)
    assert finished.returncode == 1
    assert "no prediction wrote it" in finished.stderr
    assert not (out / "deep").exists()


def test_a_damaged_video_is_named_and_the_others_are_done(
    command, arguments, photo, clip, tmp_path
):
    folder, out = tmp_path / "mixed", tmp_path / "out"
    folder.mkdir()
    (folder / "cut.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2")
    clip(folder / "film.avi").rename(folder / "film.AVI")
    (folder / "notes.txt").touch()
    (folder / "x.png").write_bytes(photo)
    given = (*arguments, f"--output_dir={out}", "--save_logits", folder)
    finished = command("predict", *given)
    assert finished.returncode == 1
    assert "left out: " in finished.stderr
    assert finished.stderr.splitlines()[-1] == (
        "error: 1 of 3 files could not be read; they are named above"
    )
    assert "files that are no images or videos (1 .txt)" in finished.stdout
    assert "no logits are written of 2 video(s)" in finished.stdout
    assert "3 frame(s) predicted" in finished.stdout
    results = {"film_overlay.mp4", "x_overlay.png", "x_label.png", "x_logits.npy", "index.html"}
    assert {path.name for path in out.iterdir()} == results
    page, _, errors = (out / "index.html").read_text().partition("Left out")
    assert 'href="./film_overlay.mp4"' in page
    assert "frame 2 of 3" in page
    assert 'href="./x_overlay.png"' in page
    assert "cut.mp4: not a video" in errors

    again = command("predict", *arguments, f"--output_dir={out}", folder / "film.AVI")
    assert "is there already" in again.stderr


def test_logits_of_videos_alone_are_refused(fails, arguments, clip, tmp_path):
    given = (f"--output_dir={tmp_path / 'out'}", "--save_logits", clip(tmp_path / "film.avi"))
    says = "film.avi, a video, the overlay is written"
    fails("predict", *arguments, *given, says=says, code=2)


def test_a_page_shows_what_was_predicted_into_the_folder_before(
    command, arguments, photo, tmp_path
):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(photo)
        out = f"--output_dir={tmp_path / 'out'}"
        finished = command("predict", *arguments, out, tmp_path / name)
        assert finished.returncode == 0, finished.stderr
    page = (tmp_path / "out" / "index.html").read_text()
    assert 'href="./a_overlay.png"' in page
    assert 'href="./b_overlay.png"' in page
    assert "2 results, predicted with" in page


def test_patterns_stand_for_files_where_there_is_none_of_that_name(tmp_path):
    folder = tmp_path / "[1] *"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "[ab].jpg", "c.txt", ".hidden.jpg", "deep/d.jpg"):
        (folder / name).touch()

    def found(*patterns):
        names = expand_patterns([str(folder / pattern) for pattern in patterns])
        return [str(Path(name).relative_to(folder)) for name in names]

    assert found("*.jpg", "c.txt") == ["[ab].jpg", "a.jpg", "b.jpg", "c.txt"]
    assert found("[ab].jpg") == ["[ab].jpg"]
    assert found("?.jpg") == ["a.jpg", "b.jpg"]
    assert found("**/*.jpg") == ["[ab].jpg", "a.jpg", "b.jpg", "deep/d.jpg"]
    assert found(".*.jpg") == [".hidden.jpg"]
    assert found("missing.jpg") == ["missing.jpg"]  # which is told as for any name
    with contextlib.chdir(folder):
        assert expand_patterns(["./?.jpg", "deep/*"]) == ["a.jpg", "b.jpg", "deep/d.jpg"]
        (source,) = find_images(expand_patterns(["dee*"]), recursive=False)
    assert source.name == "d"
    with pytest.raises(InputError, match=r"\*\.gif, and as a pattern it matches no file"):
        found("*.gif")
