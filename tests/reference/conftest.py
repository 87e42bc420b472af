"""Comparison with outputs of the reference implementation."""

import pytest

from tests.reference import golden_files
from tests.reference.equivalence import EQUIVALENCE


@pytest.fixture(scope="session")
def golden():
    """`golden(file)`: the arrays of one file of the reference's outputs by `case|quantity`."""
    return golden_files.outputs


@pytest.fixture(scope="session")
def equivalence(request):
    """Collects the deviations of all comparisons of a session."""
    return request.config.stash[EQUIVALENCE]
