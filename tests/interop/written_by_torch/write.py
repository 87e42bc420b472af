"""Writes the two files beside it with PyTorch, from the arrays and the meta that the tests expect.

python tests/interop/written_by_torch/write.py
"""

import sys
import types
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent


class HistoryBuffer:
    """As MMEngine's, whose training runs hold such logs beside the weights."""

    def __init__(self):
        self._log_history = np.arange(3.0)
        self._max_length = np.int64(1000)
        self._statistics_methods = {"min": HistoryBuffer.min}

    def min(self):
        return self._log_history.min()


HistoryBuffer.__module__ = "mmengine.logging.history_buffer"


def content() -> dict:
    """A checkpoint as a training run of MMEngine leaves it, with tensors of every kind."""
    row = torch.arange(24, dtype=torch.float32)
    weights = torch.nn.BatchNorm2d(2).state_dict(prefix="norm.")  # which has attributes
    weights |= {
        "whole": row.reshape(2, 3, 2, 2),
        "transposed": row.reshape(4, 6).T,
        "part": row[5:17:3],
        "channels_last": row.reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "repeated": torch.tensor([1.5, -2.5]).expand(3, 2),
        "parameter": torch.nn.Parameter(torch.tensor([0.25])),
        "half": torch.tensor([1, -2, 0.5], dtype=torch.float16),
        "bfloat16": torch.tensor([1, -2, 0.5], dtype=torch.bfloat16),
        "double": torch.tensor([1, -2, 0.5], dtype=torch.float64),
        "int64": torch.tensor([1, -(2**40)]),
        "uint16": torch.tensor([1, 65535], dtype=torch.uint16),
        "bool": torch.tensor([True, False]),
        "number": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    return {
        "meta": {
            "epoch": 3,
            "dataset_meta": {
                "classes": ("road", "bed"),
                "palette": np.array([[1, 2, 3], [4, 5, 6]]),
            },
        },
        "state_dict": weights,
        "message_hub": {"log_scalars": {"loss": HistoryBuffer()}, "runtime": {"x": np.float64(2)}},
        "optimizer": {
            "state": {0: {"momentum_buffer": torch.ones(2)}},
            "param_groups": [{"lr": 0.1}],
        },
    }


def write(folder: Path) -> None:
    """Writes `zip.pth` and `legacy.pth` into a folder."""
    module = types.ModuleType(HistoryBuffer.__module__)
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[module.__name__] = module
    torch.save(content(), folder / "zip.pth")
    torch.save(content(), folder / "legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    write(FOLDER)
