"""A video in, a video out."""

import cv2
import numpy as np
import pytest
import rich.console

from gcnet_jax.errors import InputError
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.tasks.segmentation.prediction_video import predict_video
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


def run(predictor, video, target, max_pixels=10**6):
    console = rich.console.Console(quiet=True)
    return predict_video(predictor, video, target, max_pixels=max_pixels, console=console)


def test_every_frame_comes_out_with_its_classes_over_it(predictor, video, tmp_path, compilations):
    with compilations() as names:
        assert run(predictor, video, tmp_path / "out.mp4") == FRAMES
    assert len([name for name in names if "decode_pass" in name]) == 1
    frames, results = frames_of(video), frames_of(tmp_path / "out.mp4")
    assert len(results) == FRAMES
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
        (None, "missing.avi"),
    ],
)
def test_what_is_no_whole_video_leaves_nothing(predictor, video, tmp_path, make, says):
    path = tmp_path / "missing.avi"
    if make:
        path.write_bytes(make(video.read_bytes()))
    with pytest.raises(InputError, match=says):
        run(predictor, path, tmp_path / "out.mp4")
    assert [found.name for found in tmp_path.iterdir()] == ["missing.avi"] * bool(make)


def test_frames_larger_than_the_limit_are_refused(predictor, video, tmp_path):
    with pytest.raises(InputError, match=r"frames of 128x64 .*max_image_pixels=8192"):
        run(predictor, video, tmp_path / "out.mp4", max_pixels=8191)
