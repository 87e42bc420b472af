"""A video in, and the same video with the classes' colours over it out."""

import contextlib
import itertools
from collections.abc import Iterator

import cv2
import numpy as np
import rich.console
import rich.progress
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.errors import InputError
from gcnet_jax.files import in_bucket, open_regular
from gcnet_jax.tasks.segmentation.predictor import Predictor

_AT_ONCE = 16
"""Frames that are in memory, and segmented together."""
_MOST_FRAMES_A_SECOND = 1000
_LEAST_OF_FRAMES = 0.9
"""Of those that a file says it has, which some formats only estimate."""


def predict_video(
    predictor: Predictor,
    path: epath.Path,
    target: epath.Path,
    *,
    max_pixels: int,
    console: rich.console.Console,
) -> int:
    """Segments every frame of a video and writes an MP4 file of the overlays, without sound.

    Args:
        predictor: that segments the frames.
        path: of the video, in a format that OpenCV reads.
        target: of the result, whose name ends in .mp4, in a folder that is there.
        max_pixels: most pixels of a frame.
        console: for the progress.

    Returns:
        How many frames there are.

    Raises:
        InputError: there is no video that can be read, it lies in a bucket or ends before it says,
            or the result cannot be written. Then there is no result.
    """
    if in_bucket(path) or in_bucket(target):
        raise InputError(f"{path}: videos are read and written on this machine's disks alone")
    if not path.exists():
        raise InputError(f"there is no video {path}")
    with open_regular(path):
        pass  # it is a file: OpenCV would wait for a pipe
    partial = target.with_name(f".{target.name}.partial.mp4")
    with contextlib.ExitStack() as stack:
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
            raise InputError(f"{path}: not a video that OpenCV reads; expected an MP4, AVI or MKV")
        if width * height > max_pixels:
            raise InputError(
                f"{path}: its frames of {width:.0f}x{height:.0f} are larger than the limit of "
                f"{max_pixels:,} pixels; to take it all the same, set "
                f"--config.data.max_image_pixels={width * height:.0f}"
            )
        if not 0 < rate <= _MOST_FRAMES_A_SECOND:
            raise InputError(f"{path}: says that it has {rate} frames a second")
        progress = stack.enter_context(rich.progress.Progress(console=console))
        task = progress.add_task("compiling", total=max(said, 1))
        writer, count = None, 0
        for overlay in _overlays(predictor, _frames(video)):
            if writer is None:
                writer = _open_writer(partial, rate, overlay.shape)
                stack.callback(writer.release)
            writer.write(cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
            count += 1
            speed = progress.tasks[task].speed
            said_speed = f", {speed:.1f} frames/s" if speed else ""
            progress.update(task, completed=count, description=f"frame {count}{said_speed}")
        if count == 0 or writer is None:
            raise InputError(f"{path}: no frame of it can be read")
        if count < _LEAST_OF_FRAMES * said:
            raise InputError(
                f"{path}: it ends after {count} of {said:.0f} frames; it is cut off or damaged"
            )
        writer.release()
        _check_frames(partial, target, count)
        partial.replace(target)
    return count


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


def _frames(video: cv2.VideoCapture) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    while True:
        there, frame = video.read()
        if not there:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _overlays(
    predictor: Predictor, frames: Iterator[UInt8[np.ndarray, "h w 3"]]
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    is_first = True
    while some := list(itertools.islice(frames, _AT_ONCE)):
        # The last few are filled up: fewer would be compiled for once more.
        fill_up = [] if is_first else [some[-1]] * (_AT_ONCE - len(some))
        for result in predictor.results([*some, *fill_up])[: len(some)]:
            yield np.asarray(result.picture())
        is_first = False
