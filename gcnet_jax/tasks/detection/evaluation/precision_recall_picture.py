"""Precision by recall, as a picture and for a page."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import numpy as np

from gcnet_jax.tasks.detection.evaluation.average_precision import AveragePrecision, Kind
from gcnet_jax.training.curves import WIDTH, chart_for_page, encoded_figure, literal

_HEIGHT, _DPI = 5.0, 100  # inches, and pixels of one
_MOST_CLASSES = 8  # each with a curve of its own
_OVERLAPS = {"0.5": (0.5, "#1f6feb"), "0.75": (0.75, "#d1495b"), "0.5 to 0.95": (None, "#2a9d6f")}
_OF_CLASSES = "Dark2"  # a colour map of matplotlib with as many colours


def precision_recall_picture(
    precision: Mapping[Kind, AveragePrecision], names: Sequence[str]
) -> bytes:
    """Returns a PNG with precision by recall of boxes, and beside them of masks if there are some.

    Thick lines are means over the classes, for overlaps from 0.5, 0.75 and on the average of all;
    thin ones are each class's, for overlaps from 0.5, where there are few.

    Args:
        precision: of boxes, and of masks.
        names: of the classes, by index.
    """
    panels = len(precision)
    figure = matplotlib.figure.Figure(figsize=(panels * WIDTH / 2, _HEIGHT), dpi=_DPI)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis, (kind, found) in zip(axes, precision.items(), strict=True):
        _draw(axis, kind, found, names)
    figure.subplots_adjust(
        left=0.12 / panels, right=1 - 0.04 / panels, top=0.92, bottom=0.11, wspace=0.14
    )
    return encoded_figure(figure, "png")


def precision_recall_for_page(
    precision: Mapping[Kind, AveragePrecision], names: Sequence[str]
) -> dict[Kind, bytes]:
    """Returns the curves of each kind as an SVG, to be seen on white and on black.

    Args:
        precision: what was found, by kind.
        names: of the classes.
    """
    return {
        kind: chart_for_page(lambda axis, kind=kind, found=found: _draw(axis, kind, found, names))
        for kind, found in precision.items()
    }


def _draw(axis: Any, kind: Kind, found: AveragePrecision, names: Sequence[str]) -> None:
    there = np.flatnonzero(~np.isnan(found.by_class["AP"])).tolist()
    if 1 < len(there) <= _MOST_CLASSES:
        for place, index in enumerate(there):
            value = 100 * found.by_class["AP50"][index]
            axis.plot(
                found.recalls,
                found.curves[0, :, index],
                color=matplotlib.colormaps[_OF_CLASSES](place),
                linewidth=1,
                label=literal(f"{names[index]}, 0.5: {value:.1f}"),
            )
    for overlap, (at, color) in _OVERLAPS.items():
        curve = found.curve(at)
        axis.plot(
            found.recalls,
            curve,
            color=color,
            linewidth=2.5,
            label=f"overlap {overlap}: {100 * curve.mean():.1f}",
        )
    of_all = " of all classes" if len(there) > 1 else ""
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.0), ylim=(0, 1.02))
    axis.set_title(f"{'boxes' if kind == 'box' else 'masks'}: precision by recall{of_all}")
    axis.legend(loc="lower left", fontsize=9)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
