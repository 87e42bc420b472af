"""What a task may show of its runs and its evaluations."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from etils import epath
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gcnet_jax.parallel import InputShard

ShowPicture = Callable[[int, str, bytes, tuple[int, int]], None]
"""Takes a step, a name, an encoded picture and its height and width, to show it in the log."""

M_contra = TypeVar("M_contra", contravariant=True)


class Observer(AbstractContextManager, Protocol):
    """What looks at a run, such as to draw it, and changes nothing of it.

    It is called between steps, when all that was done is logged and its saving under way, and must
    not raise: a run does not end for want of a picture. To be entered as a context.
    """

    def first_batch(self, batch: PyTree) -> None:
        """Sees this process's part of the batch of step 1, after that step."""
        ...

    def look(self, batch: Any, predicted: Any) -> None:
        """Sees a batch of an evaluation under way; see `Look`."""
        ...

    def evaluated(self, step: int) -> None:
        """Is told of an evaluation after `step` steps."""
        ...

    def finish(self) -> None:
        """Returns when what was begun is done."""
        ...


class MakeObserver(Protocol[M_contra]):
    """Makes an `Observer`."""

    def __call__(
        self,
        config: ConfigDict,
        meaning: M_contra,
        workdir: epath.Path,
        shard: InputShard,
        show: ShowPicture,
        /,
    ) -> Observer:
        """What draws a run in the first process.

        Args:
            config: of the run.
            meaning: of the network's outputs.
            workdir: of the run.
            shard: the part of each batch that this process has.
            show: shows a picture in the run's log.
        """
        ...


class ShownExamples(Protocol):
    """Picks the examples that are shown of an evaluation while it goes on."""

    @property
    def endings(self) -> Sequence[str]:
        """How the names end of the files that `write` leaves beside the page, the picture first."""
        ...

    def look(self, batch: Any, predicted: Any) -> None:
        """Sees a batch under way; see `Look`."""
        ...

    def write(
        self,
        evaluation: Any,
        config: ConfigDict,
        *,
        picture: epath.Path,
        report: epath.Path,
        command: str,
    ) -> None:
        """Writes a picture of some examples, and a page with all that is known.

        Args:
            evaluation: what came of it.
            config: of the run.
            picture: the PNG; other files have its name with the other endings.
            report: the page, one HTML file.
            command: how to repeat it.
        """
        ...


class ShowExamples(Protocol):
    """Makes `ShownExamples`."""

    def __call__(
        self,
        config: ConfigDict,
        split: str,
        shard: InputShard,
        /,
        *,
        multi_scale: bool,
        count: int,
    ) -> ShownExamples:
        """What picks examples of an evaluation to show.

        Args:
            config: of the run.
            split: name of the split.
            shard: the part of each batch that this process has.
            multi_scale: of the evaluation.
            count: how many from all over the split, and how many of the worst.
        """
        ...
