"""Standard output whose reader may have seen enough, as of `gcnet list configs | head -3`."""

import os
import sys


def show(text: str) -> None:
    """Prints a text, as much of it as somebody reads."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        has_no_reader()


def has_no_reader() -> bool:
    """Returns whether nobody reads any more; what is still to be sent then goes nowhere."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or it would fail again when the program ends
        os.close(nowhere)
        return True
    return False
