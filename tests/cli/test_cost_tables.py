import contextlib
import io

import pytest

from gcnet_jax.analysis import PAPER_ROWS, PAPER_SIZE
from gcnet_jax.cli.cost_tables import paper_costs

ROUNDING = 0.1  # of a difference between two figures that are given to one decimal


@pytest.fixture(scope="module")
def printed():
    """What it returns, and what it prints on 80 columns."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setenv("COLUMNS", "80")
        costs = paper_costs(None)
    return costs, output.getvalue()


@pytest.fixture(scope="module")
def rows(printed):
    return {row["name"]: row for row in printed[0]["rows"]}


def test_the_table_is_whole_on_80_columns(printed):
    assert "multiply-adds ┃" in printed[1]
    assert "…" not in printed[1]


@pytest.mark.parametrize("name", [row.name for row in PAPER_ROWS])
def test_blocks_have_the_papers_parameters(rows, name):
    row = rows[name]
    assert abs(row["parameters"] - row["paper_parameters"]) <= ROUNDING * 1e6


@pytest.mark.parametrize("name", [row.name for row in PAPER_ROWS if row.block != "non_local"])
def test_query_independent_blocks_cost_next_to_nothing_as_in_the_paper(rows, name):
    """The paper seems to count the sum with the features as well; matrix products alone here."""
    row = rows[name]
    assert row["multiply_adds"] <= row["paper_multiply_adds"] + ROUNDING * 1e9
    assert row["paper_multiply_adds"] - 1.5 * row["multiply_adds"] <= ROUNDING * 1e9


def test_the_papers_non_local_block_agrees_with_one_that_pools_its_input_first(rows):
    positions = PAPER_SIZE[0] // 16 * (PAPER_SIZE[1] // 16)
    keys, channels, inner = positions // 4, 1024, 512
    embeddings = (2 * positions + 2 * keys) * channels * inner
    papers = embeddings + 2 * positions * keys * inner
    assert abs(papers - rows["one NL in c4"]["paper_multiply_adds"]) <= ROUNDING * 1e9
    ours = 4 * positions * channels * inner + 2 * positions**2 * inner
    assert rows["one NL in c4"]["multiply_adds"] == ours
