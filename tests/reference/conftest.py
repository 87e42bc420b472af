"""Comparison with stored outputs of the reference implementation."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.reference.equivalence import EQUIVALENCE

GOLDEN = Path(__file__).parent / "golden"


def layouts(name):
    """What the cases of one golden file are: arguments and layout of the state dict by case."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def golden():
    """`golden(file)`: the arrays of one golden file by `case|quantity`."""
    return lambda name: np.load(GOLDEN / f"{name}.npz")


@pytest.fixture(scope="session")
def equivalence(request):
    """Collects the deviations of all comparisons of a session."""
    return request.config.stash[EQUIVALENCE]
