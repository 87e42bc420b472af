"""A video in, and the same video with the classes' colours over it out."""

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import cv2
import numpy as np
import rich.console
import rich.progress
from etils import epath
from jaxtyping import UInt8
from PIL import Image

from gcnet_jax.errors import InputError
from gcnet_jax.files import as_utf8, in_bucket, open_regular
from gcnet_jax.tasks.segmentation.legend import LegendEntry, with_legend
from gcnet_jax.tasks.segmentation.predictor import Predictor
from gcnet_jax.tasks.segmentation.result import SegmentationResult

# FFmpeg, which reads it once, would write lines of its own about a damaged video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_AT_ONCE = 16
"""Frames that are in memory, and segmented together."""
_MOST_FRAMES_A_SECOND = 1000
_LEAST_OF_FRAMES = 0.9
"""Least share that is read of the frames a file says it has, which some formats only estimate."""


class UnreadableVideo(InputError):
    """A video cannot be read, or not to its end."""


class SegmentedVideo(NamedTuple):
    """What comes of segmenting one video.

    Attributes:
        frames: how many it has.
        shown: the result of the frame in its middle.
        shown_at: which that is, from 1.
    """

    frames: int
    shown: SegmentationResult
    shown_at: int


def predict_video(
    predictor: Predictor,
    path: epath.Path,
    target: epath.Path,
    *,
    max_pixels: int,
    legend: bool = False,
    console: rich.console.Console,
) -> SegmentedVideo:
    """Segments every frame of a video and writes an MP4 file of the overlays, without sound.

    Args:
        predictor: that segments the frames.
        path: of the video, in a format that OpenCV reads.
        target: of the result, whose name ends in .mp4, in a folder that is there.
        max_pixels: most pixels of a frame.
        legend: whether the names of all classes stand below each frame.
        console: for the progress.

    Raises:
        UnreadableVideo: there is no video that can be read, it lies in a bucket or ends before it
            says. Then there is no result.
        InputError: the result cannot be written.
    """
    _check_file(path, target)
    partial = target.with_name(f".{target.name}.partial.mp4")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_silent())
        video = cv2.VideoCapture(str(path))
        stack.callback(video.release)
        stack.callback(partial.unlink, missing_ok=True)
        width, height, said, rate = (
            video.get(key)
            for key in (
                cv2.CAP_PROP_FRAME_WIDTH,
                cv2.CAP_PROP_FRAME_HEIGHT,
                cv2.CAP_PROP_FRAME_COUNT,
                cv2.CAP_PROP_FPS,
            )
        )
        if not video.isOpened() or width * height < 1:
            raise UnreadableVideo(
                f"{path}: not a video that OpenCV reads; expected an MP4, AVI or MKV"
            )
        if width * height > max_pixels:
            raise UnreadableVideo(
                f"{path}: its frames of {width:.0f}x{height:.0f} are larger than the limit of "
                f"{max_pixels:,} pixels; to take it all the same, set "
                f"--config.data.max_image_pixels={width * height:.0f}"
            )
        if not 0 < rate <= _MOST_FRAMES_A_SECOND:
            raise UnreadableVideo(f"{path}: says that it has {rate} frames a second")
        progress = stack.enter_context(rich.progress.Progress(console=console))
        task = progress.add_task("compiling", total=max(said, 1))
        writer, below = None, None
        shown: tuple[SegmentationResult, int] | None = None
        count, middle = 0, int(said) // 2 if said > 0 else 0
        for result in _results(predictor, _frames(video, path)):
            picture = np.asarray(result.picture())
            if legend:
                below = _legend(picture.shape, predictor.palette) if below is None else below
                picture = _above(below, picture)
            if writer is None:
                writer = _open_writer(partial, rate, picture.shape)
                stack.callback(writer.release)
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            if shown is None or count == middle:
                shown = result, count + 1
            count += 1
            speed = progress.tasks[task].speed
            said_speed = f", {speed:.1f} frames/s" if speed else ""
            progress.update(task, completed=count, description=f"frame {count}{said_speed}")
        if writer is None or shown is None:
            raise UnreadableVideo(f"{path}: no frame of it can be read")
        if count < _LEAST_OF_FRAMES * said:
            raise UnreadableVideo(
                f"{path}: it ends after {count} of {said:.0f} frames; it is cut off or damaged"
            )
        writer.release()
        _check_frames(partial, target, count)
        partial.replace(target)
    return SegmentedVideo(count, *shown)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keeps OpenCV from writing lines of its own: what it cannot read is said in words."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _check_file(path: epath.Path, target: epath.Path) -> None:
    """Raises UnreadableVideo unless OpenCV can open the files: it would wait for a pipe."""
    if in_bucket(path) or in_bucket(target):
        raise UnreadableVideo(f"{path}: videos are read and written on this machine's disks alone")
    try:
        open_regular(as_utf8(path)).close()
    except FileNotFoundError as error:
        raise UnreadableVideo(f"there is no video {path}") from error
    except OSError as error:
        raise UnreadableVideo(f"{path} cannot be read ({error.strerror})") from error
    except InputError as error:
        raise UnreadableVideo(str(error)) from error


def _open_writer(path: epath.Path, rate: float, shape: tuple[int, ...]) -> cv2.VideoWriter:
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), code, rate, (shape[1], shape[0]))
    if not writer.isOpened():
        raise InputError(f"{path} cannot be written as an MP4 video of {shape[1]}x{shape[0]}")
    return writer


def _check_frames(partial: epath.Path, target: epath.Path, count: int) -> None:
    """Raises InputError unless so many frames are in a file: of a full disk OpenCV says nothing."""
    written = cv2.VideoCapture(str(partial))
    try:
        found = written.get(cv2.CAP_PROP_FRAME_COUNT) if written.isOpened() else 0
    finally:
        written.release()
    if found != count:
        raise InputError(f"{target} cannot be written: {found:.0f} of {count} frames arrived")


def _frames(video: cv2.VideoCapture, path: epath.Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    shape = None
    while True:
        there, frame = video.read()
        if not there:
            return
        shape = frame.shape if shape is None else shape
        if frame.shape != shape:
            raise UnreadableVideo(f"{path}: its frames are not all of one size")
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _legend(
    shape: tuple[int, ...], palette: Mapping[str, tuple[int, int, int]]
) -> UInt8[np.ndarray, "h w 3"]:
    """Room for a frame with the names of all classes below, the same for every frame."""
    entries = [LegendEntry(name, color) for name, color in palette.items()]
    room = np.asarray(with_legend(Image.new("RGB", (shape[1], shape[0])), entries))
    # Videos have even sides.
    sides = [(0, side % 2) for side in room.shape[:2]]
    return np.pad(room, [*sides, (0, 0)], constant_values=255)


def _above(
    legend: UInt8[np.ndarray, "h w 3"], picture: UInt8[np.ndarray, "h2 w2 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    joined = legend.copy()
    joined[: picture.shape[0], : picture.shape[1]] = picture
    return joined


def _results(
    predictor: Predictor, frames: Iterator[UInt8[np.ndarray, "h w 3"]]
) -> Iterator[SegmentationResult]:
    is_first = True
    while some := list(itertools.islice(frames, _AT_ONCE)):
        # The last few are filled up: fewer would be compiled for once more.
        fill_up = [] if is_first else [some[-1]] * (_AT_ONCE - len(some))
        yield from predictor.results([*some, *fill_up])[: len(some)]
        is_first = False
