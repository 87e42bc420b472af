"""Pictures of runs: examples with their labels and predictions, and the curves of training."""

import dataclasses
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib.figure
import matplotlib.patches
import matplotlib.ticker
import numpy as np
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.files import write_whole
from gcnet_jax.tasks.segmentation.data import DatasetClasses

Picture = UInt8[np.ndarray, "h w 3"]

_DPI = 100
_WIDTH = 12.0  # inches
_CURVES_HEIGHT = 3.5  # inches
_LEGEND_COLUMNS, _MOST_IN_LEGEND = 10, 40  # classes
_COLORS = ("#1f6feb", "#d1495b", "#2a9d6f")


@dataclasses.dataclass(frozen=True)
class Curve:
    """One run in a figure of training curves.

    Attributes:
        name: in the legend; runs of one name share a colour.
        rows: the rows of its `metrics.jsonl`.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]


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
        figsize=(_WIDTH, _examples_height(examples, classes)), dpi=_DPI
    )
    _draw_examples(figure, examples, classes)
    save_figure(figure, path)


def save_curves(path: epath.PathLike, curves: Sequence[Curve]) -> None:
    """Writes a PNG of training loss and held-out mIoU by step."""
    figure = matplotlib.figure.Figure(figsize=(_WIDTH, _CURVES_HEIGHT), dpi=_DPI)
    _draw_curves(figure, curves)
    save_figure(figure, path)


def curves_for_page(curve: Curve) -> list[bytes]:
    """Training loss and held-out mIoU by step, as SVGs to be seen on white and on black."""
    grey = "#808890"
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = {**dict.fromkeys(inks, grey), "grid.color": grey, "svg.hashsalt": "gcnet_jax"}
    encoded = []
    with matplotlib.rc_context({**style, "legend.framealpha": 0.0}):
        for draw in (_draw_losses, _draw_scores):
            figure = matplotlib.figure.Figure(figsize=(_WIDTH / 2, _CURVES_HEIGHT))
            draw(figure.subplots(), [curve])
            figure.subplots_adjust(left=0.12, right=0.97, top=0.9, bottom=0.15)
            encoded.append(_encoded(figure, "svg", transparent=True, metadata={"Date": None}))
    return encoded


def save_page(
    path: epath.PathLike,
    examples: Sequence[Mapping[str, Picture]],
    classes: DatasetClasses,
    curves: Sequence[Curve],
) -> None:
    """Writes a PNG with examples above and training curves below."""
    heights = [_examples_height(examples, classes), _CURVES_HEIGHT]
    figure = matplotlib.figure.Figure(figsize=(_WIDTH, sum(heights)), dpi=_DPI)
    rows = figure.add_gridspec(2, 1, height_ratios=heights)
    _draw_examples(figure.add_subfigure(rows[0]), examples, classes)
    _draw_curves(figure.add_subfigure(rows[1]), curves)
    save_figure(figure, path)


def save_figure(figure: matplotlib.figure.Figure, path: epath.PathLike) -> None:
    """Writes a figure as a PNG."""
    write_whole(path, _encoded(figure, "png"))


def _encoded(figure: matplotlib.figure.Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # of a name in a script it has no font of
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def _examples_height(
    examples: Sequence[Mapping[str, Picture]], classes: DatasetClasses | None
) -> float:
    """Inches that the rows need at the full width, with titles and legend."""
    return sum(_row_heights(examples)) + 0.05 * len(examples) + 0.4 + _legend_height(classes)


def _row_heights(examples: Sequence[Mapping[str, Picture]]) -> list[float]:
    """Inches of each example's pictures at the full width; tall ones are made narrower."""
    shapes = [next(iter(example.values())).shape for example in examples]
    return [_WIDTH / len(examples[0]) * min(height / width, 1) for height, width, _ in shapes]


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
            label=_literal(name),
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


def _literal(name: str) -> str:
    """A name as matplotlib shows it, which takes `$` for a formula and leaves out `_name`."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _draw_curves(figure: Any, curves: Sequence[Curve]) -> None:
    loss_axis, score_axis = figure.subplots(1, 2)
    _draw_losses(loss_axis, curves)
    _draw_scores(score_axis, curves)
    figure.subplots_adjust(left=0.075, right=0.98, top=0.9, bottom=0.15, wspace=0.15)


def _draw_losses(axis: Any, curves: Sequence[Curve]) -> None:
    for curve, style in _styled(curves):
        rows = [row for row in curve.rows if "loss" in row]
        axis.plot([row["step"] for row in rows], [row["loss"] for row in rows], **style)
    axis.set(xlabel="step", yscale="log")
    # As plain numbers: most of the time would go into setting powers of ten as formulas.
    axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    _finish(axis, "training loss")


def _draw_scores(axis: Any, curves: Sequence[Curve]) -> None:
    for curve, style in _styled(curves):
        rows = [row for row in curve.rows if "mIoU" in row]
        axis.plot([r["step"] for r in rows], [100 * r["mIoU"] for r in rows], "o-", **style)
    axis.set(xlabel="step", ylim=(0, 100))
    _finish(axis, "mIoU on held-out images, percent")


def _styled(curves: Sequence[Curve]) -> Iterator[tuple[Curve, dict[str, Any]]]:
    """Each curve with its colour, and its name if it is the first to have it."""
    names = list(dict.fromkeys(curve.name for curve in curves))
    labelled = set()
    for curve in curves:
        style = {"color": _COLORS[names.index(curve.name) % len(_COLORS)], "alpha": 0.8}
        if curve.name not in labelled:
            style["label"] = _literal(curve.name)
            labelled.add(curve.name)
        yield curve, style


def _finish(axis: Any, title: str) -> None:
    axis.set_title(title, y=1)  # a given height, so that none is looked for
    axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axis.legend()
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
