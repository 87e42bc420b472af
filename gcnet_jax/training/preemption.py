"""Notice that the machine is about to be taken away: the signal SIGTERM."""

import signal
import types

import jax
from jax.experimental import multihost_utils


class PreemptionNotice:
    """Whether to save and stop. Listens from `__enter__` to `__exit__`.

    With one process the signal itself is the answer. With several, any of them may get it, perhaps
    all at different times: JAX's preemption service, which listens for SIGTERM by itself, then
    picks a moment that no process has reached yet. So that all stop at the same step, all must ask
    equally often, which training loops do.
    """

    def __init__(self) -> None:
        self._received = False
        self._asked = 0

    def __enter__(self) -> "PreemptionNotice":
        if not jax.distributed.is_initialized():
            self._previous = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *of_exception: object) -> None:
        if not jax.distributed.is_initialized():
            signal.signal(signal.SIGTERM, self._previous)

    def reached(self) -> bool:
        """Whether the time has come. To be asked after each step, by all processes alike."""
        self._asked += 1
        if jax.distributed.is_initialized() and not self._received:
            self._received = multihost_utils.reached_preemption_sync_point(self._asked)
        return self._received

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        del number, frame
        self._received = True
