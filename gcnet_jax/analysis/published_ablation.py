"""What the paper says its blocks cost, and where they are.

Source: Cao et al. (2019), tables 2 (a), (c), (d), (e) and (f): Mask R-CNN with ResNet-50 and FPN on
images of 800x1280. The figures here are the increments over its first row, 44.4 M parameters and
279.4 G multiply-adds; all are given to one decimal there, so that increments are exact to 0.1.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from gcnet_jax.models.residual_blocks import Position

PAPER_SIZE = (800, 1280)
"""Height and width in pixels."""


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """One row of the paper's tables.

    Attributes:
        name: what the blocks are and where.
        block: what configs call the context block.
        options: of the block.
        stages: of the backbone, counted from 0.
        residual_blocks: which of each stage; all if empty.
        position: in a residual block.
        parameters: how many more than without blocks.
        multiply_adds: how many more than without blocks.
    """

    name: str
    block: str
    options: Mapping[str, Any]
    stages: tuple[int, ...]
    residual_blocks: tuple[int, ...]
    position: Position
    parameters: float
    multiply_adds: float


_NAMES = {"global_context": "GC", "non_local": "NL", "simplified_non_local": "simplified NL"}


def _one(block: str, parameters: float, multiply_adds: float) -> PaperRow:
    """A single block before the last residual block of c4."""
    return PaperRow(
        f"one {_NAMES[block]} in c4",
        block,
        {},
        stages=(2,),
        residual_blocks=(-2,),
        position="after_add",
        parameters=parameters * 1e6,
        multiply_adds=multiply_adds * 1e9,
    )


def _all(
    stages: tuple[int, ...],
    parameters: float,
    multiply_adds: float,
    *,
    block: str = "global_context",
    **options: Any,
) -> PaperRow:
    """A block in every residual block of some stages; GC's ratio is 1/16 unless given."""
    where = "+".join(f"c{stage + 2}" for stage in stages)
    described = "".join(
        f", {value if isinstance(value, str) else _ratio(value)}" for value in options.values()
    )
    return PaperRow(
        f"{_NAMES[block]} in {where}{described}",
        block,
        options,
        stages=stages,
        residual_blocks=(),
        position="after_conv3",
        parameters=parameters * 1e6,
        multiply_adds=multiply_adds * 1e9,
    )


def _ratio(value: float) -> str:
    return f"ratio 1/{round(1 / value)}"


_C3, _C4, _C5 = 1, 2, 3

PAPER_ROWS = (
    _one("non_local", 2.1, 9.3),
    _one("simplified_non_local", 1.0, 0.0),
    _one("global_context", 0.1, 0.0),
    _all((_C3,), 0.1, 0.1),
    _all((_C4,), 0.8, 0.1),
    _all((_C5,), 1.5, 0.0),
    _all((_C3, _C4, _C5), 2.5, 0.2),
    # "w/o ratio": one convolution in place of the bottleneck
    _all((_C3, _C4, _C5), 20.0, 0.2, block="simplified_non_local"),
    _all((_C3, _C4, _C5), 10.0, 0.2, ratio=1 / 4),
    _all((_C3, _C4, _C5), 5.0, 0.2, ratio=1 / 8),
    _all((_C3, _C4, _C5), 1.3, 0.1, ratio=1 / 32),
    _all((_C3, _C4, _C5), 2.5, 0.1, pooling="average", fusion="multiply"),
)
"""The rows, in the order of the tables."""
