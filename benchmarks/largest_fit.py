"""The largest of some sizes whose measure stays within a budget, from few measurements."""

import bisect
from collections.abc import Callable


class LargestFit:
    """Looks for the largest `n` from 1 to `most` for which `measure(n)` is within a budget.

    The measure should grow with `size(n)`, about in proportion. Then the line through two
    measurements says where the budget ends, and two more confirm it. Whatever the measure does,
    the answer is within the budget and the next larger one is not. What was measured for one
    budget serves for the next.

    Args:
        measure: what is expensive to know, such as a program's memory.
        start: where to measure first.
        most: the largest `n` there is.
        size: of `n`; grows with it.
    """

    def __init__(
        self,
        measure: Callable[[int], float],
        *,
        start: int,
        most: int,
        size: Callable[[int], float] = float,
    ):
        self._measure, self._start, self._most, self._size = measure, start, most, size
        self.measured: dict[int, float] = {}

    def within(self, budget: float) -> int:
        """The largest `n` within the budget, or 0 if there is none."""
        guess, idle = self._start, 0
        fits, too_large = 0, self._most + 1
        while too_large - fits > 1:
            if guess not in self.measured:
                self.measured[guess] = self._measure(guess)
            before = fits, too_large
            fits = max((n for n, x in self.measured.items() if x <= budget), default=0)
            too_large = min((n for n in self.measured if n > fits), default=self._most + 1)
            narrowed = 2 * (too_large - fits) <= before[1] - before[0]
            idle = 0 if narrowed or fits >= 2 * before[0] > 0 else idle + 1
            guess = self._next(budget, fits, too_large, idle)
        return fits

    def _next(self, budget: float, fits: int, too_large: int, idle: int) -> int:
        """What to measure when the answer is known to be from `fits` to below `too_large`."""
        bounded = too_large <= self._most
        guess = (fits + too_large) // 2 if bounded else 2 * fits
        if idle < 3 and (line := self._line(fits, too_large)):
            n, slope = line
            size = self._size(n) + (budget - self.measured[n]) / slope
            guess = bisect.bisect_right(range(1, self._most + 1), size, key=self._size)
        return min(max(guess, fits + 1), too_large - 1)

    def _line(self, fits: int, too_large: int) -> tuple[int, float] | None:
        """A point and the slope of the line through two measurements around or beside the end."""
        around = [n for n in (fits, too_large) if n in self.measured]
        low, high = around if len(around) == 2 else (min(self.measured), max(self.measured))
        rise = self.measured[high] - self.measured[low]
        if rise <= 0:
            return None
        return low, rise / (self._size(high) - self._size(low))
