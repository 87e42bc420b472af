"""What a run tells while it runs: a progress bar, TensorBoard events, and a file of metrics."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType

from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.task import Scores
from gcnet_jax.training.display import Advance, Display, duration
from gcnet_jax.training.events import Events
from gcnet_jax.training.rows import RowsFile
from gcnet_jax.training.step_means import StepMeans

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
        best_metric: the metric of evaluations that decides which is the best.
        batch_size: examples a step, for the rate shown. Of the first step, which may have to wait
            for a compiler, no rate is taken.
        started: when the run was asked for, by `time.monotonic`. If given, a message says how long
            it took from there to the end of the first step.
        unlogged: the metrics of the last of the steps already done, which no row has yet.
        unread: called when nobody reads any more what is shown.
        writes: whether this process writes and shows anything.
    """

    def __init__(
        self,
        workdir: epath.PathLike,
        *,
        first_step: int,
        total_steps: int,
        log_every: int,
        best_metric: str,
        batch_size: int,
        started: float | None = None,
        unlogged: Sequence[Mapping[str, float]] = (),
        unread: Callable[[], None] = lambda: None,
        writes: bool = True,
    ):
        self._writes = writes
        self._started = started
        self._total_steps = total_steps
        self._log_every = log_every
        self._best_metric = best_metric
        self._batch_size = batch_size
        self._means = StepMeans(unlogged, batch_size)
        if not writes:
            return
        self._display = Display(first_step=first_step, total_steps=total_steps, unread=unread)
        # What a run that was killed had logged beyond the checkpoint it resumes from is dropped.
        self._rows = RowsFile(workdir, last_step=first_step)
        self._evaluated = {
            (row["split"], row["step"]): row[best_metric]
            for row in self._rows.kept
            if best_metric in row
        }
        self._events = Events(epath.Path(workdir) / "tensorboard", first_step)
        self._next_write = 0.0
        self.flush()

    def __enter__(self) -> "RunLog":
        if self._writes:
            self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writes:
            self._display.stop()
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
        self._means.add(metrics)
        if self._writes:
            self._display.step(step)
        if self._started is not None:
            self.message(f"first step after {time.monotonic() - self._started:.1f} s")
            self._started = None
        if step % self._log_every and step != self._total_steps:
            return
        row = self._means.row()
        loss, rest = f"loss {row['loss']:.4f}", ""
        if rate := row.get("images_per_second"):
            remaining = (self._total_steps - step) * self._batch_size / rate
            rest = f"  {rate:.1f} images/s  {duration(remaining)} left"
        self._write(step, "train", row)
        if self._writes:
            status = f"{loss}  lr {row['learning_rate']:.2e}{rest}"
            self._display.status(wide=status, narrow=f"{loss}{rest}")
            if not self._display.is_terminal:
                self.message(f"step {step}/{self._total_steps}  {status}")

    def unlogged(self) -> list[Mapping[str, float]]:
        """The metrics of the steps since the last row, for a checkpoint to take along."""
        return self._means.unlogged()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in this context does not count as time spent training."""
        start = time.monotonic()
        self.flush()
        yield
        self._means.pause(time.monotonic() - start)

    def evaluation(self, step: int, split: str, scores: Scores) -> None:
        """Logs what an evaluation after `step` steps has found."""
        if not self._writes:
            return
        row = {**scores.metrics, **scores.parts}
        if self._rows.add(step, split, row):  # else a start that was killed just then has logged it
            values = {f"{split}/{name}": value for name, value in scores.metrics.items()}
            # In a group of their own, for there may be hundreds.
            values |= {f"{split}_{name}": value for name, value in scores.parts.items()}
            self._events.add(step, values)
        self.flush()
        if self._best_metric in scores.metrics:
            self._evaluated[split, step] = scores.metrics[self._best_metric]
        best = self.best(split)
        shown = {name: f"{name} {100 * value:.2f}%" for name, value in scores.metrics.items()}
        if best is not None and best[0] == step:
            shown[self._best_metric] += " (best)"
        if self._display.is_narrow:
            shown = {
                name: text for name, text in shown.items() if name == self._best_metric
            } or shown
        note = [f"({scores.note})"] if scores.note else []
        self.message("  ".join([f"step {step}", split, *shown.values(), *note]))

    def best(self, split: str) -> tuple[int, float] | None:
        """The step of the best evaluation on a split so far, or the last of them, and its metric.

        None where nothing is known of one, as in a process that does not write.
        """
        if not self._writes:
            return None
        values = {
            step: value
            for (of, step), value in sorted(self._evaluated.items())
            if of == split and math.isfinite(value)
        }
        return max(values.items(), key=lambda item: (item[1], item[0]), default=None)

    def picture(self, step: int, name: str, encoded: bytes, size: tuple[int, int]) -> None:
        """Shows a picture in TensorBoard.

        Args:
            step: of the run.
            name: under which it stands beside those of other steps.
            encoded: the bytes of a PNG or JPEG.
            size: height and width in pixels.
        """
        if self._writes:
            self._events.add_picture(step, name, encoded, size)

    def text(self, step: int, name: str, text: str) -> None:
        """Shows a text in TensorBoard, which takes it for Markdown."""
        if self._writes:
            self._events.add_text(step, name, text)

    def message(self, text: str) -> None:
        """Shows a line above the progress bar."""
        if self._writes:
            self._display.line(text)

    def stage(
        self, name: str, total: int | None = None
    ) -> contextlib.AbstractContextManager[Advance]:
        """Shows on a terminal, with a clock, what is under way beside the steps.

        Args:
            name: of what is done.
            total: how much is to do, if that is known.

        Returns:
            A context in which it is shown, and which gives a function to say what is done of it.
        """
        if not self._writes:
            return contextlib.nullcontext(lambda done: None)
        return self._display.stage(name, total)

    def _write(self, step: int, split: str, row: Mapping[str, float]) -> None:
        if not self._writes:
            return
        self._events.add(step, {f"{split}/{name}": value for name, value in row.items()})
        self._rows.add(step, split, row)
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
        self._rows.write()
        self._events.flush()
        end = time.monotonic()
        pause = max(_SECONDS_BETWEEN_WRITES, (end - start) / _SHARE_OF_WRITING)
        self._next_write = end + pause
