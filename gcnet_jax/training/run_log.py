"""What a run tells while it runs: a progress bar, TensorBoard events, and a file of metrics."""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from types import TracebackType

import rich.console
import rich.progress
from etils import epath


class RunLog:
    """Collects the metrics of steps and evaluations and shows them.

    `<workdir>/metrics.jsonl` gets one JSON object a line, `{"step", "split", ...}`; TensorBoard
    events go to `<workdir>/tensorboard`. Only the first process of a multi-host run should have one
    that writes.

    Args:
        workdir: the run's folder.
        first_step: steps already done; what an earlier process logged beyond them is dropped.
        total_steps: steps of the whole run.
        log_every: steps that are averaged into one row.
        batch_size: examples a step, for the rate shown.
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
        writes: bool = True,
    ):
        self._writes = writes
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
        _drop_rows_after(self._path, first_step)
        import tensorboardX  # here, for it loads PyTorch if there is one

        self._events = tensorboardX.SummaryWriter(
            str(epath.Path(workdir) / "tensorboard"),
            purge_step=first_step + 1 if first_step else None,
            max_queue=0,  # without a limit: the thread that empties it ends on a full disk
        )

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
                self._events.close()
            except OSError:  # a full disk, of which the error under way says more
                if error is None:
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
        yield
        self._pauses += time.monotonic() - start

    def evaluation(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of an evaluation after `step` steps."""
        self._write(step, split, metrics)
        values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self.message(f"step {step}  {split}  {values}")

    def message(self, text: str) -> None:
        """Shows a line above the progress bar."""
        if self._writes:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _write(self, step: int, split: str, row: Mapping[str, float]) -> None:
        if not self._writes:
            return
        for name, value in row.items():
            self._events.add_scalar(f"{split}/{name}", value, step)
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "split": split, **row}) + "\n")


def read_rows(workdir: epath.PathLike) -> list[dict[str, float | str]]:
    """The rows of a run's `metrics.jsonl`, in order."""
    path = epath.Path(workdir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _drop_rows_after(path: epath.Path, step: int) -> None:
    """Removes what a run that was killed had logged beyond the checkpoint it resumes from."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the killed process was in the middle of a line
            continue
        if row["step"] <= step:
            kept.append(line)
    replacement = path.with_name(path.name + ".new")
    replacement.write_text("".join(f"{line}\n" for line in kept))
    replacement.replace(path)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
