"""What `gcnet predict` takes beside image files, and what it leaves beside labels and overlays."""

import contextlib
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from gcnet_jax.cli import predict


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


def test_an_image_on_standard_input_becomes_files_or_standard_output(
    command, arguments, photo, tmp_path, monkeypatch
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

    monkeypatch.setattr("sys.stdin", Standard(b"no image"))
    finished = command("predict", *arguments, f"--output_dir={tmp_path / 'none'}", "-")
    assert finished.returncode == 1
    assert "stdin: not an image" in finished.stderr


def test_standard_output_is_for_one_image_alone(command, arguments, photo, tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(photo)
    monkeypatch.setattr("sys.stdin", Standard(photo))
    finished = command("predict", *arguments, "-", tmp_path / "x.png")
    assert finished.returncode == 1
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
    assert "cut.png" in page.partition("Not segmented")[2]
    with Image.open(out / "deep" / "a&b_overlay.png") as overlay:
        assert overlay.height > 64
    (out / "deep").rename(tmp_path / "elsewhere")
    (out / "index.html").write_text("my own page")
    finished = command("predict", *given)
    assert finished.returncode == 1
    assert "no prediction wrote it" in finished.stderr
    assert not (out / "deep").exists()


def test_a_video_becomes_a_video(command, arguments, photo, tmp_path):
    frame = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    clip = tmp_path / "clip.AVI"
    writer = cv2.VideoWriter(str(tmp_path / "x.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (128, 64))
    for _ in range(3):
        writer.write(frame)
    writer.release()
    (tmp_path / "x.avi").rename(clip)
    given = (*arguments, f"--output_dir={tmp_path / 'out'}", clip)
    finished = command("predict", *given)
    assert finished.returncode == 0, finished.stderr
    assert "3 frame(s) segmented" in finished.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip_overlay.mp4"]
    assert "is there already" in command("predict", *given).stderr
