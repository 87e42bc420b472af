"""Figures of what ablations and benchmarks found."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
from etils import epath

from gcnet_jax.tasks.segmentation.pictures import save_figure

_DPI = 100
_WIDTH = 12.0  # inches
_HEIGHT = 3.5  # inches
_COLORS = ("#1f6feb", "#d1495b", "#2a9d6f")


def save_scores(path: epath.PathLike, scores: Mapping[str, Sequence[float]]) -> None:
    """Writes a PNG: one line a name, with a dot for each of its scores and a bar at their mean.

    Args:
        path: of the PNG.
        scores: in percent, by name.
    """
    height = 1.0 + 0.28 * len(scores)
    figure = matplotlib.figure.Figure(figsize=(_WIDTH * 0.7, height), dpi=_DPI)
    axis = figure.subplots()
    for position, values in enumerate(scores.values()):
        axis.plot(values, [position] * len(values), "o", color=_COLORS[0], alpha=0.6)
        axis.plot([sum(values) / len(values)], [position], "|", color=_COLORS[1], markersize=16)
    axis.set_yticks(range(len(scores)), list(scores))
    axis.set_ylim(len(scores) - 0.4, -0.6)
    axis.set(xlabel="mIoU, percent; each dot one seed, the bar their mean")
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save_figure(figure, path)


def save_efficiency(path: epath.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a PNG: the efficiency of training by the number of chips, with and without overlap.

    Args:
        path: of the PNG.
        rows: with `chip`, `chips`, `images_a_chip`, `efficiency` and `efficiency_overlapped`.
    """
    figure = matplotlib.figure.Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI)
    panels = list(dict.fromkeys(row["images_a_chip"] for row in rows))
    kinds = list(dict.fromkeys(row["chip"] for row in rows))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, images in zip(axes, panels, strict=True):
        for color, kind in zip(_COLORS, kinds, strict=False):
            line = [r for r in rows if r["chip"] == kind and r["images_a_chip"] == images]
            for key, style in (("efficiency_overlapped", "o-"), ("efficiency", "o--")):
                label = kind if key == "efficiency_overlapped" else None
                percent = [100 * row[key] for row in line]
                axis.plot([r["chips"] for r in line], percent, style, color=color, label=label)
        chips = sorted({row["chips"] for row in rows})
        axis.set_xscale("log", base=2)
        axis.set_xticks(chips, [str(number) for number in chips])
        axis.set(title=f"crops a chip: {images}", xlabel="chips", ylim=(0, 105))
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("efficiency, percent")
    axes[-1].legend(loc="lower left", title="computed, not measured\ndashed: nothing overlaps")
    figure.tight_layout()
    save_figure(figure, path)


def save_growth(path: epath.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a PNG: time, FLOPs and memory of a step by each quantity that they grow with.

    Args:
        path: of the PNG.
        rows: with `quantity`, `value` and `relative` to a common step: `seconds` with its `median`,
            `flops` and `memory`.
    """
    figure = matplotlib.figure.Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI)
    quantities = list(dict.fromkeys(row["quantity"] for row in rows))
    axes = figure.subplots(1, len(quantities), sharey=True, squeeze=False)[0]
    for axis, quantity in zip(axes, quantities, strict=True):
        line = [row for row in rows if row["quantity"] == quantity]
        values = [row["value"] for row in line]
        for name, style, color in zip(
            ("seconds", "flops", "memory"), ("o-", "--", ":"), _COLORS, strict=True
        ):
            relative = [row["relative"][name] for row in line]
            if name == "seconds":
                relative = [seconds["median"] for seconds in relative]
            axis.plot(values, relative, style, color=color, label=name)
        axis.set(xlabel=quantity, xscale="log", yscale="log")
        axis.set_xticks(values, [f"{value:,}" for value in values], rotation=30)
        axis.set_xticks([], minor=True)
        axis.set_yticks([0.25, 0.5, 1, 2, 4], ["¼", "½", "1", "2", "4"])
        axis.set_yticks([], minor=True)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("times the config's own step")
    axes[0].legend(loc="upper left", frameon=False)
    figure.tight_layout()
    save_figure(figure, path)
