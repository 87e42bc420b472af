"""Pictures of runs: examples with their labels and predictions, perhaps above curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import matplotlib.patches
import matplotlib.ticker
import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.training.curves import CURVES_HEIGHT, WIDTH, Curve, draw_curves, literal, save_figure

Picture = UInt8[np.ndarray, "h w 3"]

_DPI = 100
_LEGEND_COLUMNS, _MOST_IN_LEGEND = 10, 40  # classes


def save_examples(
    path: epath.PathLike,
    examples: Sequence[Mapping[str, Picture]],
    classes: DatasetClasses | None = None,
) -> None:
    """Writes a PNG: one row an example, one column a picture of it, and the colours of classes.

    Args:
        path: of the PNG.
        examples: for each its pictures, of one size, by title.
        classes: whose names and colours the legend shows; no legend without, nor for so many that
            nobody could tell their colours apart.
    """
    figure = matplotlib.figure.Figure(
        figsize=(WIDTH, _examples_height(examples, classes)), dpi=_DPI
    )
    _draw_examples(figure, examples, classes)
    save_figure(figure, path)


def save_page(
    path: epath.PathLike,
    examples: Sequence[Mapping[str, Picture]],
    classes: DatasetClasses,
    curves: Sequence[Curve],
) -> None:
    """Writes a PNG with examples above and training curves below."""
    heights = [_examples_height(examples, classes), CURVES_HEIGHT]
    figure = matplotlib.figure.Figure(figsize=(WIDTH, sum(heights)), dpi=_DPI)
    rows = figure.add_gridspec(2, 1, height_ratios=heights)
    _draw_examples(figure.add_subfigure(rows[0]), examples, classes)
    draw_curves(figure.add_subfigure(rows[1]), curves)
    save_figure(figure, path)


def _examples_height(
    examples: Sequence[Mapping[str, Picture]], classes: DatasetClasses | None
) -> float:
    """Inches that the rows need at the full width, with titles and legend."""
    return sum(_row_heights(examples)) + 0.05 * len(examples) + 0.4 + _legend_height(classes)


def _row_heights(examples: Sequence[Mapping[str, Picture]]) -> list[float]:
    """Inches of each example's pictures at the full width; tall ones are made narrower."""
    shapes = [next(iter(example.values())).shape for example in examples]
    return [WIDTH / len(examples[0]) * min(height / width, 1) for height, width, _ in shapes]


def _legend_height(classes: DatasetClasses | None) -> float:
    """Inches of the legend; nothing without."""
    if classes is None or classes.num_classes > _MOST_IN_LEGEND:
        return 0.0
    return 0.15 + 0.25 * -(-classes.num_classes // _LEGEND_COLUMNS)


def _draw_examples(
    figure: Any, examples: Sequence[Mapping[str, Picture]], classes: DatasetClasses | None
) -> None:
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
    legend = _legend_height(classes)
    if classes is not None and legend:
        _draw_legend(figure, classes)
    inches = _examples_height(examples, classes)
    figure.subplots_adjust(
        left=0.005,
        right=0.995,
        top=1 - 0.35 / inches,
        bottom=(legend + 0.05) / inches,
        wspace=0.02,
        hspace=0.04,
    )


def _draw_legend(figure: Any, classes: DatasetClasses) -> None:
    handles = [
        matplotlib.patches.Patch(
            facecolor=(red / 255, green / 255, blue / 255),
            edgecolor="0.5",
            label=literal(name),
        )
        for name, (red, green, blue) in zip(classes.names, classes.palette, strict=True)
    ]
    figure.legend(
        handles=handles,
        ncols=min(len(handles), _LEGEND_COLUMNS),
        loc="lower center",
        frameon=False,
        fontsize=9,
        columnspacing=1.2,
    )
