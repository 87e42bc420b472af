"""The curves of training: the loss by step, and what evaluations have found."""

import dataclasses
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib.figure
import matplotlib.ticker
from etils import epath

from gcnet_jax.files import write_whole

_DPI = 100
WIDTH = 12.0
"""Width of figures, in inches."""
CURVES_HEIGHT = 3.5
"""Height of figures of curves, in inches."""
_COLORS = ("#1f6feb", "#d1495b", "#2a9d6f")


@dataclasses.dataclass(frozen=True)
class Curve:
    """One run in a figure of training curves.

    Attributes:
        name: in the legend; runs of one name share a colour.
        rows: the rows of its `metrics.jsonl`.
        metric: of its evaluations, that is drawn.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    metric: str


def save_curves(path: epath.PathLike, curves: Sequence[Curve]) -> None:
    """Writes a PNG of training loss and held-out metric by step."""
    figure = matplotlib.figure.Figure(figsize=(WIDTH, CURVES_HEIGHT), dpi=_DPI)
    draw_curves(figure, curves)
    save_figure(figure, path)


def curves_for_page(curve: Curve) -> list[bytes]:
    """Training loss and held-out metric by step, as SVGs to be seen on white and on black."""
    return [
        chart_for_page(lambda axis: _draw_losses(axis, [curve])),
        chart_for_page(lambda axis: _draw_scores(axis, [curve])),
    ]


def chart_for_page(draw: Callable[[Any], None]) -> bytes:
    """Returns an SVG half as wide as a page, to be seen on white and on black.

    Args:
        draw: draws into axes of matplotlib.
    """
    grey = "#808890"
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = {**dict.fromkeys(inks, grey), "grid.color": grey, "svg.hashsalt": "gcnet_jax"}
    with matplotlib.rc_context({**style, "legend.framealpha": 0.0}):
        figure = matplotlib.figure.Figure(figsize=(WIDTH / 2, CURVES_HEIGHT))
        draw(figure.subplots())
        figure.subplots_adjust(left=0.12, right=0.97, top=0.9, bottom=0.15)
        return encoded_figure(figure, "svg", transparent=True, metadata={"Date": None})


def save_figure(figure: matplotlib.figure.Figure, path: epath.PathLike) -> None:
    """Writes a figure as a PNG."""
    write_whole(path, encoded_figure(figure, "png"))


def encoded_figure(figure: matplotlib.figure.Figure, kind: str, **options: Any) -> bytes:
    """Returns a figure as the bytes of a file.

    Args:
        figure: to encode.
        kind: of the file: "png" or "svg".
        **options: of matplotlib's `savefig`.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # of a name in a script it has no font of
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def literal(name: str) -> str:
    """A name as matplotlib shows it, which takes `$` for a formula and leaves out `_name`."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def draw_curves(figure: Any, curves: Sequence[Curve]) -> None:
    """Draws training loss and held-out metric beside each other."""
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
        rows = [row for row in curve.rows if curve.metric in row]
        axis.plot([r["step"] for r in rows], [100 * r[curve.metric] for r in rows], "o-", **style)
    axis.set(xlabel="step", ylim=(0, 100))
    metrics = " and ".join(dict.fromkeys(curve.metric for curve in curves))
    _finish(axis, f"{metrics} on held-out examples, percent")


def _styled(curves: Sequence[Curve]) -> Iterator[tuple[Curve, dict[str, Any]]]:
    """Each curve with its colour, and its name if it is the first to have it."""
    names = list(dict.fromkeys(curve.name for curve in curves))
    labelled = set()
    for curve in curves:
        style = {"color": _COLORS[names.index(curve.name) % len(_COLORS)], "alpha": 0.8}
        if curve.name not in labelled:
            style["label"] = literal(curve.name)
            labelled.add(curve.name)
        yield curve, style


def _finish(axis: Any, title: str) -> None:
    axis.set_title(title, y=1)  # a given height, so that none is looked for
    axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axis.legend()
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
