"""The ways to evaluate that are measured beside each other."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Mode(NamedTuple):
    """A way to evaluate: what the network sees at once, and whether over scales and mirrored."""

    inference: str
    multi_scale: bool


MODES: Mapping[str, Mode] = MappingProxyType(
    {
        "whole": Mode("whole", False),
        "slide": Mode("slide", False),
        "scales+flips": Mode("whole", True),
    }
)
