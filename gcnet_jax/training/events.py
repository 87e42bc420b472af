"""Events for TensorBoard, on a disk and in a bucket."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.files import write_whole


class Events:
    """A file of TensorBoard events, which several threads may add to.

    Not tensorboardX's `SummaryWriter`: that one writes in a thread, and once the disk or the bucket
    has refused, waits for ever to hand the thread the next event.
    """

    def __init__(self, folder: epath.Path, first_step: int):
        with _pytorch_left_out():
            from tensorboardX import event_file_writer, record_writer
            from tensorboardX.proto import event_pb2, summary_pb2
            from tensorboardX.summary import text

        record_writer.register_writer_factory("gs", _BucketFiles())
        self._kinds: Any = event_pb2
        self._summaries: Any = summary_pb2
        self._text_summary = text
        self._folder = folder
        self._lock = threading.Lock()
        with self._named_on_failure():
            event_file_writer.directory_check(os.fspath(folder))
            self._file = event_file_writer.EventsWriter(os.fspath(folder / "events"))
        if first_step:  # TensorBoard then leaves out what an earlier file has from there on
            start = self._kinds.SessionLog(status=self._kinds.SessionLog.START)
            self._write(first_step + 1, session_log=start)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of one step, by names of any characters."""
        for name, value in values.items():
            self._write_value(step, tag=name, simple_value=value)

    def add_picture(self, step: int, name: str, encoded: bytes, size: tuple[int, int]) -> None:
        """Takes a picture of one step.

        Args:
            step: of the run.
            name: under which TensorBoard shows it, with those of other steps.
            encoded: the bytes of a PNG or JPEG.
            size: height and width in pixels.
        """
        height, width = size
        image = self._summaries.Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=encoded
        )
        self._write_value(step, tag=name, image=image)

    def add_text(self, step: int, name: str, text: str) -> None:
        """Takes a text, which TensorBoard shows as Markdown."""
        self._write(step, summary=self._text_summary(name, text))

    def flush(self) -> None:
        """Writes what has been taken."""
        with self._named_on_failure():
            self._file.flush()

    def close(self) -> None:
        """Writes what has been taken, and closes the file."""
        with self._named_on_failure():
            self._file.close()

    def _write_value(self, step: int, **content: Any) -> None:
        value = self._summaries.Summary.Value(**content)
        self._write(step, summary=self._summaries.Summary(value=[value]))

    def _write(self, step: int, **content: Any) -> None:
        with self._named_on_failure():
            self._file.write_event(self._kinds.Event(wall_time=time.time(), step=step, **content))

    @contextlib.contextmanager
    def _named_on_failure(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except OSError as error:  # which does not say where the disk is full
            raise InputError(f"{self._folder} cannot be written ({error.strerror})") from error


@contextlib.contextmanager
def _pytorch_left_out() -> Iterator[None]:
    """Within it PyTorch cannot be imported: tensorboardX would, for seconds, and do without it."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


class _BucketFiles:
    """How tensorboardX is to open what lies in a bucket."""

    def open(self, path: str) -> "_BucketFile":
        return _BucketFile(path)

    def directory_check(self, path: str) -> None:
        """There are no folders to make."""


class _BucketFile:
    def __init__(self, path: str):
        self._path = path
        self._content = bytearray()

    def write(self, content: bytes) -> None:
        self._content += content

    def flush(self) -> None:
        write_whole(self._path, bytes(self._content))

    def close(self) -> None:
        self.flush()
