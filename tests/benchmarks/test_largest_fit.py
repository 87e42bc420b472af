import math

from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.largest_fit import LargestFit

COUNTS = st.integers(1, 400)
AMOUNTS = st.floats(0.1, 1e3)


def expected(measure, budget, most):
    return max((n for n in range(1, most + 1) if measure(n) <= budget), default=0)


@given(COUNTS, COUNTS, AMOUNTS, AMOUNTS, st.floats(0, 1e4))
def test_what_grows_in_proportion_takes_four_measurements(start, most, fixed, slope, budget):
    def measure(n):
        return fixed + slope * n

    assume(start <= most)
    search = LargestFit(measure, start=start, most=most)
    assert search.within(budget) == expected(measure, budget, most)
    assert len(search.measured) <= 5  # one more where rounding puts the answer next to itself


@given(COUNTS, AMOUNTS, AMOUNTS, st.floats(0, 10), st.lists(st.floats(0, 1e5), min_size=1))
def test_what_grows_in_other_ways_is_found_too_and_measured_once(start, a, b, c, budgets):
    """With a square term, as of a map of all pairs of positions, and with jumps."""
    calls = []

    def measure(n):
        calls.append(n)
        return a + b * n + c * n**2 + 10 * math.floor(n / 7)

    search = LargestFit(measure, start=start, most=400, size=lambda n: 3.0 * n)
    for budget in budgets:
        found = search.within(budget)
        assert found == expected(lambda n: a + b * n + c * n**2 + 10 * (n // 7), budget, 400)
    assert len(calls) == len(set(calls))
    assert len(calls) <= 20 * len(budgets)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.integers(0, 100), st.data())
def test_whatever_the_measure_the_answer_fits_and_the_next_does_not(values, budget, data):
    start = data.draw(st.integers(1, len(values)))
    search = LargestFit(lambda n: values[n - 1], start=start, most=len(values))
    found = search.within(budget)
    assert found == 0 or values[found - 1] <= budget
    assert found == len(values) or values[found] > budget


def test_sizes_say_where_an_area_ends():
    search = LargestFit(lambda n: 5 + 2 * n * n, start=4, most=1000, size=lambda n: float(n * n))
    assert search.within(2 * 77**2 + 5) == 77
    assert sorted(search.measured) == [4, 8, 77, 78]
