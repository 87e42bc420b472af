"""What a run tells while it runs: a progress bar, TensorBoard events, and a file of metrics."""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import rich.console
import rich.progress
from absl import logging
from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.files import write_whole

# Objects in a bucket cannot be appended to: files are written anew, all of them, so not too often.
# With rows of 200 bytes, 160k steps logged every 50 are 640 KB in the end.
_SECONDS_BETWEEN_WRITES = 10.0
_SHARE_OF_WRITING = 0.05  # of the time, however long a write takes


class RunLog:
    """Collects the metrics of steps and evaluations and shows them.

    `<workdir>/metrics.jsonl` gets one JSON object a line, `{"step", "split", ...}`; TensorBoard
    events go to `<workdir>/tensorboard`. Both are written every few seconds, after an evaluation,
    and before what happens in `paused`: a checkpoint saved there never knows of steps that the
    files do not have. Only the first process of a multi-host run should have one that writes.

    Args:
        workdir: the run's folder.
        first_step: steps already done; what an earlier process logged beyond them is dropped.
        total_steps: steps of the whole run.
        log_every: steps that are averaged into one row.
        batch_size: examples a step, for the rate shown.
        started: when the run was asked for, by `time.monotonic`. If given, a message says how long
            it took from there to the end of the first step.
        writes: whether this process writes and shows anything.
    """

    def __init__(
        self,
        workdir: epath.PathLike,
        *,
        first_step: int,
        total_steps: int,
        log_every: int,
        batch_size: int,
        started: float | None = None,
        writes: bool = True,
    ):
        self._writes = writes
        self._started = started
        self._total_steps = total_steps
        self._log_every = log_every
        self._batch_size = batch_size
        self._window: list[Mapping[str, float]] = []
        self._window_start = time.monotonic()
        self._pauses = 0.0
        if not writes:
            return
        self._console = rich.console.Console()
        self._progress = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[status]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(
            "training", total=total_steps, completed=first_step, status="compiling"
        )
        self._path = epath.Path(workdir) / "metrics.jsonl"
        # What a run that was killed had logged beyond the checkpoint it resumes from is dropped.
        self._lines = [line for line, step in _lines(self._path) if step <= first_step]
        self._events = _Events(epath.Path(workdir) / "tensorboard", first_step)
        self._next_write = 0.0
        self.flush()

    def __enter__(self) -> "RunLog":
        if self._writes:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writes:
            self._progress.stop()
            try:
                self.flush()
                self._events.close()
            except InputError:
                if error is None:  # an error that is under way says more
                    raise

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of one finished step; every `log_every` steps their mean is logged.

        Args:
            step: number of the step, from 1.
            metrics: at least `loss` and `learning_rate`, of which the last value counts.
        """
        self._window.append(metrics)
        if self._writes:
            self._progress.update(self._task, completed=step)
        if self._started is not None:
            self.message(f"first step after {time.monotonic() - self._started:.1f} s")
            self._started = None
        if step % self._log_every and step != self._total_steps:
            return
        seconds = time.monotonic() - self._window_start - self._pauses
        row = {
            name: math.fsum(m[name] for m in self._window) / len(self._window) for name in metrics
        }
        row["learning_rate"] = metrics["learning_rate"]
        row["images_per_second"] = len(self._window) * self._batch_size / max(seconds, 1e-9)
        remaining = (self._total_steps - step) * self._batch_size / row["images_per_second"]
        status = (
            f"loss {row['loss']:.4f}  lr {row['learning_rate']:.2e}  "
            f"{row['images_per_second']:.1f} images/s  {_duration(remaining)} left"
        )
        self._write(step, "train", row)
        if self._writes:
            self._progress.update(self._task, status=status)
            if not self._console.is_terminal:
                print(f"step {step}/{self._total_steps}  {status}", flush=True)
        self._window, self._pauses, self._window_start = [], 0.0, time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in this context does not count as time spent training."""
        start = time.monotonic()
        self.flush()
        yield
        self._pauses += time.monotonic() - start

    def evaluation(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of an evaluation after `step` steps."""
        if not self._writes:
            return
        if json.dumps({"step": step, "split": split, **metrics}) not in self._lines:
            # Else a start that was killed just then has logged it.
            self._write(step, split, metrics)
        self.flush()
        values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self.message(f"step {step}  {split}  {values}")

    def message(self, text: str) -> None:
        """Shows a line above the progress bar."""
        if self._writes:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _write(self, step: int, split: str, row: Mapping[str, float]) -> None:
        if not self._writes:
            return
        self._events.add(step, {f"{split}/{name}": value for name, value in row.items()})
        self._lines.append(json.dumps({"step": step, "split": split, **row}))
        if time.monotonic() >= self._next_write:
            self.flush()

    def flush(self) -> None:
        """Writes what has been logged so far.

        Raises:
            InputError: a file cannot be written.
        """
        if not self._writes:
            return
        start = time.monotonic()
        write_whole(self._path, "".join(f"{line}\n" for line in self._lines))
        self._events.flush()
        end = time.monotonic()
        pause = max(_SECONDS_BETWEEN_WRITES, (end - start) / _SHARE_OF_WRITING)
        self._next_write = end + pause


class _Events:
    """A file of TensorBoard events.

    Not tensorboardX's `SummaryWriter`: that one writes in a thread, and once the disk or the bucket
    has refused, waits for ever to hand the thread the next event.
    """

    def __init__(self, folder: epath.Path, first_step: int):
        from tensorboardX import event_file_writer, record_writer  # here: PyTorch comes along
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        record_writer.register_writer_factory("gs", _BucketFiles())
        self._kinds: Any = event_pb2
        self._scalar = scalar
        self._folder = folder
        with self._named_on_failure():
            event_file_writer.directory_check(os.fspath(folder))
            self._file = event_file_writer.EventsWriter(os.fspath(folder / "events"))
        if first_step:  # TensorBoard then leaves out what an earlier file has from there on
            start = self._kinds.SessionLog(status=self._kinds.SessionLog.START)
            self._write(first_step + 1, session_log=start)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of one step."""
        for name, value in values.items():
            self._write(step, summary=self._scalar(name, value))

    def flush(self) -> None:
        """Writes what has been taken."""
        with self._named_on_failure():
            self._file.flush()

    def close(self) -> None:
        """Writes what has been taken, and closes the file."""
        with self._named_on_failure():
            self._file.close()

    def _write(self, step: int, **content: Any) -> None:
        with self._named_on_failure():
            self._file.write_event(self._kinds.Event(wall_time=time.time(), step=step, **content))

    @contextlib.contextmanager
    def _named_on_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # which does not say where the disk is full
            raise InputError(f"{self._folder} cannot be written ({error.strerror})") from error


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


def read_rows(workdir: epath.PathLike) -> list[dict[str, float | str]]:
    """The rows of a run's `metrics.jsonl`, in order."""
    path = epath.Path(workdir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _lines(path: epath.Path) -> Iterator[tuple[str, int]]:
    """The lines of a `metrics.jsonl` that can be read, each with its step."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            yield line, int(json.loads(line)["step"])
        except (ValueError, TypeError, KeyError):
            logging.warning("Line %d of %s is damaged and left out.", number, path)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
