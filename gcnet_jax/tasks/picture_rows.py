"""Figures of examples, each a row of pictures such as its label, perhaps above curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import matplotlib.patches
import matplotlib.ticker
import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.training.curves import CURVES_HEIGHT, WIDTH, Curve, draw_curves, literal, save_figure

Picture = UInt8[np.ndarray, "h w 3"]
Legend = Sequence[tuple[str, tuple[int, int, int]]]
"""Names, such as of classes, each with the RGB colour that stands for it."""

_DPI = 100
_LEGEND_COLUMNS, _MOST_IN_LEGEND = 10, 40  # classes


def save_examples(
    path: epath.PathLike,
    examples: Sequence[Mapping[str, Picture]],
    legend: Legend = (),
) -> None:
    """Writes a PNG: one row an example, one column a picture of it, and the colours of classes.

    Args:
        path: of the PNG.
        examples: for each its pictures, of one size, by title.
        legend: what colours stand for; none is drawn of so many names that nobody could tell their
            colours apart.
    """
    figure = matplotlib.figure.Figure(figsize=(WIDTH, _examples_height(examples, legend)), dpi=_DPI)
    _draw_examples(figure, examples, legend)
    save_figure(figure, path)


def save_page(
    path: epath.PathLike,
    examples: Sequence[Mapping[str, Picture]],
    legend: Legend,
    curves: Sequence[Curve],
) -> None:
    """Writes a PNG with examples above and training curves below."""
    heights = [_examples_height(examples, legend), CURVES_HEIGHT]
    figure = matplotlib.figure.Figure(figsize=(WIDTH, sum(heights)), dpi=_DPI)
    rows = figure.add_gridspec(2, 1, height_ratios=heights)
    _draw_examples(figure.add_subfigure(rows[0]), examples, legend)
    draw_curves(figure.add_subfigure(rows[1]), curves)
    save_figure(figure, path)


def _examples_height(examples: Sequence[Mapping[str, Picture]], legend: Legend) -> float:
    """Inches that the rows need at the full width, with titles and legend."""
    return sum(_row_heights(examples)) + 0.05 * len(examples) + 0.4 + _legend_height(legend)


def _row_heights(examples: Sequence[Mapping[str, Picture]]) -> list[float]:
    """Inches of each example's pictures at the full width; tall ones are made narrower."""
    shapes = [next(iter(example.values())).shape for example in examples]
    return [WIDTH / len(examples[0]) * min(height / width, 1) for height, width, _ in shapes]


def _legend_height(legend: Legend) -> float:
    """Inches of the legend; nothing without."""
    if not 0 < len(legend) <= _MOST_IN_LEGEND:
        return 0.0
    return 0.15 + 0.25 * -(-len(legend) // _LEGEND_COLUMNS)


def _draw_examples(figure: Any, examples: Sequence[Mapping[str, Picture]], legend: Legend) -> None:
    titles = list(examples[0])
    axes = figure.subplots(
        len(examples), len(titles), squeeze=False, height_ratios=_row_heights(examples)
    )
    for row, example in zip(axes, examples, strict=True):
        for axis, title in zip(row, titles, strict=True):
            axis.imshow(example[title])
            axis.set_axis_off()
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=11)
    legend_height = _legend_height(legend)
    if legend_height:
        _draw_legend(figure, legend)
    inches = _examples_height(examples, legend)
    figure.subplots_adjust(
        left=0.005,
        right=0.995,
        top=1 - 0.35 / inches,
        bottom=(legend_height + 0.05) / inches,
        wspace=0.02,
        hspace=0.04,
    )


def _draw_legend(figure: Any, legend: Legend) -> None:
    handles = [
        matplotlib.patches.Patch(
            facecolor=(red / 255, green / 255, blue / 255),
            edgecolor="0.5",
            label=literal(name),
        )
        for name, (red, green, blue) in legend
    ]
    figure.legend(
        handles=handles,
        ncols=min(len(handles), _LEGEND_COLUMNS),
        loc="lower center",
        frameon=False,
        fontsize=9,
        columnspacing=1.2,
    )
