"""A video in, a video out."""

import os
import struct

import cv2
import numpy as np
import pytest
import rich.console
from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.tasks.segmentation.prediction_video import UnreadableVideo, predict_video
from gcnet_jax.tasks.segmentation.predictor import Predictor

FRAMES, SIZE = 19, (64, 128)


@pytest.fixture(scope="module")
def predictor(narrow_model, narrow_config, classes):
    return Predictor(*split_for_evaluation(narrow_model), classes, narrow_config)


@pytest.fixture(scope="module")
def video(tmp_path_factory, photo):
    """A clip in which a picture moves, and its frames as they are read."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, SIZE[::-1])
    still = cv2.resize(photo, SIZE[::-1])
    for index in range(FRAMES):
        writer.write(np.roll(still, 5 * index, 1))
    writer.release()
    return path


def frames_of(path):
    opened = cv2.VideoCapture(str(path))
    assert opened.get(cv2.CAP_PROP_FPS) == 12.5
    frames = []
    while (read := opened.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames


def run(predictor, video, target, max_pixels=10**6, **options):
    console = rich.console.Console(quiet=True)
    return predict_video(
        predictor, video, target, max_pixels=max_pixels, console=console, **options
    )


def test_every_frame_comes_out_with_its_classes_over_it(predictor, video, tmp_path, compilations):
    with compilations() as names:
        found = run(predictor, video, tmp_path / "out.mp4")
    assert (found.frames, found.shown_at) == (FRAMES, 10)
    assert len([name for name in names if "(logits)" in name]) == 1
    frames, results = frames_of(video), frames_of(tmp_path / "out.mp4")
    assert len(results) == FRAMES
    np.testing.assert_array_equal(found.shown.image, frames[9])
    for index in (0, 7, FRAMES - 1):
        expected = np.asarray(predictor.results([frames[index]])[0].picture()).astype(int)
        assert np.abs(results[index] - expected).mean() < 15  # the codec loses some
        assert np.abs(results[index] - frames[index].astype(int)).mean() > 15
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda whole: b"no video", "not a video that OpenCV reads"),
        (lambda whole: whole[: len(whole) // 2], "cut off or damaged|not a video"),
        (lambda whole: b"\0\0\0\x18ftypisom\0\0\2\0isomiso2\0\0\xff\xffmdat", "not a video"),
        (None, "missing.avi"),
    ],
)
def test_what_is_no_whole_video_leaves_nothing_and_is_told_once(
    predictor, video, tmp_path, make, says, capfd
):
    path = tmp_path / "missing.avi"
    if make:
        path.write_bytes(make(video.read_bytes()))
    with pytest.raises(UnreadableVideo, match=says):
        run(predictor, path, tmp_path / "out.mp4")
    assert capfd.readouterr() == ("", "")  # FFmpeg would write of its own
    assert [found.name for found in tmp_path.iterdir()] == ["missing.avi"] * bool(make)


def test_frames_larger_than_the_limit_are_refused(predictor, video, tmp_path):
    with pytest.raises(UnreadableVideo, match=r"frames of 128x64 .*max_image_pixels=8192"):
        run(predictor, video, tmp_path / "out.mp4", max_pixels=8191)


@pytest.mark.parametrize("rate", [1001, 2**31 - 1])
def test_a_rate_that_no_video_has_is_refused(predictor, video, tmp_path, rate):
    content = bytearray(video.read_bytes())
    place = content.index(b"strh") + 8 + 20  # in the header of the stream: scale, rate
    content[place : place + 8] = struct.pack("<II", 1, rate)
    path = epath.Path(tmp_path / "fast.avi")
    path.write_bytes(bytes(content))
    with pytest.raises(UnreadableVideo, match=r"says that it has \d+\.\d+ frames a second"):
        run(predictor, path, tmp_path / "out.mp4")


def test_a_video_of_which_frames_do_not_arrive_is_no_result(
    predictor, video, tmp_path, monkeypatch
):
    class OnFullDisk:  # of which OpenCV says nothing
        fourcc, made = staticmethod(cv2.VideoWriter.fourcc), cv2.VideoWriter

        def __init__(self, *arguments):
            self.writer, self.left = self.made(*arguments), 5
            self.isOpened, self.release = self.writer.isOpened, self.writer.release

        def write(self, frame):
            self.left -= 1
            if self.left >= 0:
                self.writer.write(frame)

    monkeypatch.setattr(cv2, "VideoWriter", OnFullDisk)
    with pytest.raises(InputError, match=r"out\.mp4 cannot be written: 5 of 19 frames arrived"):
        run(predictor, video, epath.Path(tmp_path) / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_what_opencv_cannot_open_is_told_before(predictor, tmp_path):
    latin = os.fsdecode(b"\xe9.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / latin).touch()
    for name, says in (
        ("pipe.mp4", "pipe.mp4 is no regular file"),
        ("folder.mp4", "folder.mp4 is no regular file"),
        (latin, r"\\udce9.mp4 is not UTF-8"),
    ):
        with pytest.raises(UnreadableVideo, match=says):
            run(predictor, epath.Path(tmp_path / name), tmp_path / "out.mp4")


def test_a_legend_of_all_classes_stands_below_every_frame(predictor, video, tmp_path):
    assert run(predictor, video, tmp_path / "out.mp4", legend=True).frames == FRAMES
    run(predictor, video, tmp_path / "plain.mp4")
    frames, plain = frames_of(tmp_path / "out.mp4"), frames_of(tmp_path / "plain.mp4")
    assert len(frames) == FRAMES
    height, width = SIZE
    assert frames[0].shape[0] > height
    for frame, without in zip(frames, plain, strict=True):
        assert np.abs(frame[:height, :width].astype(int) - without).mean() < 15
    below = np.array([frame[height + 8 :] for frame in frames]).astype(int)
    assert np.abs(below - below[0]).mean() < 10  # it does not move
    for color in predictor.palette.values():
        near = np.abs(below[0] - color).max(-1) < 60
        assert near.sum() > 20, color
