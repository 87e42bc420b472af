"""mmsegmentation, to measure beside ours where it is installed (the extra `peer`)."""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any


def peer_is_installed() -> bool:
    """Whether mmsegmentation can be measured here."""
    return importlib.util.find_spec("mmseg") is not None


def import_peer(module: str) -> Any:
    """A module of OpenMMLab's or PyTorch, with or without the compiled operators of mmcv.

    mmsegmentation imports them all, also where it calls none, and mmcv-lite has none.
    """
    if importlib.util.find_spec("mmcv._ext") is None:
        operators = _Operators("mmcv._ext")
        operators.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)
        sys.modules["mmcv._ext"] = operators
    return importlib.import_module(module)


class _Operators(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def operator(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"mmcv's operator {name} was called, but mmcv-lite has none")

        return operator
