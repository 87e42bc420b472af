"""What a run shows while it goes on: lines, and on a terminal what is under way below them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import IO, cast

import rich.console
import rich.progress
import rich.table
import rich.text

from gcnet_jax.training.output import Output

_NARROW = 100  # columns; in fewer there is room for the most important only

Advance = Callable[[int], None]
"""Is told how much more is done."""


class Display:
    """Shows lines on standard output, and on a terminal a bar of the run's steps below them.

    Args:
        first_step: steps already done.
        total_steps: steps of the whole run.
        unread: called when nobody reads any more what is shown.
    """

    def __init__(self, *, first_step: int, total_steps: int, unread: Callable[[], None]):
        self._output = Output(unread)
        self._console = _console(self._output)
        self._progress = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=None),
            _Count(),
            _Status(self),
            console=self._console,
            disable=not self._console.is_terminal,
            expand=True,
        )
        self._steps = self._progress.add_task(
            "training", total=total_steps, completed=first_step, wide="", narrow=""
        )

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches, rather than a file."""
        return self._console.is_terminal

    @property
    def is_narrow(self) -> bool:
        """Whether it is a terminal with little room."""
        return self.is_terminal and self._console.width < _NARROW

    def start(self) -> None:
        """Begins to show the bar."""
        self._progress.start()

    def stop(self) -> None:
        """Leaves the bar as it is."""
        self._progress.stop()

    def line(self, text: str) -> None:
        """Shows a line, above the bar."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._output.flush()

    def step(self, step: int) -> None:
        """Shows how many steps are done."""
        self._progress.update(self._steps, completed=step)

    def status(self, wide: str, narrow: str) -> None:
        """Shows a text behind the bar, one or the other by how much room there is."""
        self._progress.update(self._steps, wide=wide, narrow=narrow)

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Shows with a bar of its own, and a clock, what is under way for as long as this lasts.

        Args:
            name: of what is done.
            total: how much is to do, if that is known.
        """
        task = self._progress.add_task(name, total=total, wide=None, narrow=None)
        try:
            yield lambda done: self._progress.advance(task, done)
        finally:
            self._progress.remove_task(task)


@contextlib.contextmanager
def doing(what: str, *, shows: bool = True) -> Iterator[None]:
    """Shows on a terminal, with a clock, what is under way, and takes it away in the end.

    Args:
        what: is done.
        shows: whether this process shows anything.
    """
    console = _console(Output(lambda: None))
    columns = (rich.progress.TextColumn("{task.description}"), _Clock())
    disable = not (shows and console.is_terminal)
    with rich.progress.Progress(
        *columns, console=console, transient=True, disable=disable
    ) as progress:
        progress.add_task(what, total=None)
        yield


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: `1:02:03`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _console(output: Output) -> rich.console.Console:
    return rich.console.Console(file=cast(IO[str], output))


class _Column(rich.progress.ProgressColumn):
    """One whose text is never cut while the bar has room to give."""

    def __init__(self):
        super().__init__(rich.table.Column(no_wrap=True))


class _Count(_Column):
    """How much is done of how much, if that is known."""

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        if task.total is None:
            return rich.text.Text()
        return rich.text.Text(f"{int(task.completed)}/{int(task.total)}")


class _Clock(_Column):
    """For how long it has been under way."""

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        return rich.text.Text(duration(task.elapsed or 0.0))


class _Status(_Clock):
    """The text that suits the width; of stages, which have none, the clock."""

    def __init__(self, display: Display):
        super().__init__()
        self._display = display

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        text = task.fields["narrow" if self._display.is_narrow else "wide"]
        return super().render(task) if text is None else rich.text.Text(text)
