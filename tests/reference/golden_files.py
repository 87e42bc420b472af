"""The reference's outputs that the tests compare with: those stored here, or others that are named.

`--golden=DIR` names a folder with files of the same names, and `--golden-seed=N` the seed that its
weights and inputs were drawn with. What is compared is then what lies there, and all of it.
"""

import json
from pathlib import Path

import numpy as np
import pytest

_STORED = Path(__file__).parent / "golden"
_OF_ALL = ("blocks", "backbones", "segmentors", "inference", "detection/detectors")
"""Files with cases, each a JSON file and one of arrays."""

_folder, _seed = _STORED, 0


def use(folder: Path, seed: int) -> None:
    """Reads from another folder, whose weights and inputs were drawn with another seed.

    Raises:
        pytest.UsageError: there is no case.
    """
    global _folder, _seed
    _folder, _seed = folder, seed
    if not any(cases(name) for name in _OF_ALL):
        expected = ", ".join(f"{name}.json" for name in _OF_ALL)
        raise pytest.UsageError(f"no case is found in --golden={folder}; expected {expected}")


def seed() -> int:
    """The seed of weights, inputs and labels."""
    return _seed


def are_given() -> bool:
    """Whether they are others than those stored here."""
    return _folder != _STORED


def absent() -> list[str]:
    """The names of the files that are not there, whose comparisons are left out."""
    names = [f"{name}.npz" for name in (*_OF_ALL, "transforms_metrics", "detection/det_ops")]
    return [name for name in names if not (_folder / name).exists()]


def cases(name: str) -> dict[str, dict]:
    """What the cases of a file are: arguments and the layout of the state dict by case."""
    path = _folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keys(name: str) -> list[str]:
    """The names of the arrays of a file."""
    path = _folder / f"{name}.npz"
    return list(np.load(path)) if path.exists() else []


def outputs(name: str) -> np.lib.npyio.NpzFile:
    """The arrays of a file by `case|quantity`."""
    path = _folder / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return np.load(path)
