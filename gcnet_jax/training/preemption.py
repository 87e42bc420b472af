"""Notice to save and stop: from a scheduler, or from whoever sits at the terminal."""

import os
import signal
import sys
import threading
import types

import jax
from jax.experimental import multihost_utils

_ENDED_BY_HAND = 128 + signal.SIGINT
_SHOW_CURSOR = b"\x1b[?25h"  # which progress bars hide


class PreemptionNotice:
    """Whether to save and stop. Listens from `__enter__` to `__exit__`.

    SIGTERM asks for it, as schedulers send it; so do Ctrl-C (SIGINT) and a terminal that is closed
    (SIGHUP), unless the process was started to ignore them. A second Ctrl-C ends the process at
    once, whatever it is doing, with exit status 130.

    With one process the signal itself is the answer. With several, any of them may get it, perhaps
    all at different times: JAX's preemption service, which listens for SIGTERM by itself, then
    picks a moment that no process has reached yet. So that all stop at the same step, all must ask
    equally often, which training loops do.
    """

    def __init__(self) -> None:
        self._received = False
        self._by_hand = False
        self._asked = 0

    def __enter__(self) -> "PreemptionNotice":
        numbers = [signal.SIGINT, signal.SIGHUP]
        if not jax.distributed.is_initialized():
            numbers.append(signal.SIGTERM)
        heard = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
        self._previous = {number: signal.signal(number, self._receive) for number in heard}
        # Python runs handlers in the main thread alone, between two operations of its own, and
        # compiling is one operation. The numbers of signals are written to a pipe at once.
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous_writer = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *of_exception: object) -> None:
        signal.set_wakeup_fd(self._previous_writer)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._writer)
        self._listener.join()
        os.close(self._reader)

    def reached(self) -> bool:
        """Whether the time has come. To be asked after each step, by all processes alike."""
        self._asked += 1
        if jax.distributed.is_initialized() and not self._received:
            self._received = multihost_utils.reached_preemption_sync_point(self._asked)
        return self._received

    @property
    def by_hand(self) -> bool:
        """Whether Ctrl-C in this process has asked for it."""
        return self._by_hand

    def request(self) -> None:
        """Asks for it as the signals do."""
        if jax.distributed.is_initialized():
            os.kill(os.getpid(), signal.SIGTERM)  # for JAX's service to tell the other processes
        else:
            self._received = True

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        del frame
        self._by_hand |= number == signal.SIGINT
        self.request()

    def _listen(self) -> None:
        numbers = iter(lambda: os.read(self._reader, 1), b"")  # until the pipe is closed
        by_hand = (number for number in numbers if number[0] == signal.SIGINT)
        if next(by_hand, None):
            _say("stopping when the step under way is done and saved; Ctrl-C again: at once")
        if next(by_hand, None):
            if sys.stdout is not None and sys.stdout.isatty():
                os.write(sys.stdout.fileno(), _SHOW_CURSOR)
            _say("interrupted")
            os._exit(_ENDED_BY_HAND)


def _say(text: str) -> None:
    """Writes a line past Python's buffers, of which the main thread may be in the middle."""
    try:
        os.write(2, f"\n{text}\n".encode())
    except OSError:  # nobody reads it
        return
