"""The page of pictures that the quickstart ends with."""

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib.figure
import matplotlib.patches
import numpy as np
from jaxtyping import Float, UInt8

from gcnet_jax.data import DatasetClasses
from gcnet_jax.evaluation import colorize, heat_overlay

_TITLES = {"gcnet": "with GC block", "fcn": "without"}
_COLORS = {"gcnet": "#1f6feb", "fcn": "#d1495b"}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        network: `gcnet` or `fcn`.
        seed: of the run.
        miou: on held-out images, 0 to 1.
        rows: the rows of its `metrics.jsonl`.
    """

    network: str
    seed: int
    miou: float
    rows: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Example:
    """One image with its label, both networks' predictions and the block's attention map."""

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    predictions: dict[str, UInt8[np.ndarray, "h w"]]
    attention: Float[np.ndarray, "h w"]


def draw_page(
    path: Path, examples: list[Example], runs: list[Run], classes: DatasetClasses
) -> None:
    """Writes a PNG: one row an example, the colours of the classes, then the training curves."""
    figure = matplotlib.figure.Figure(figsize=(12, 1.35 * len(examples) + 4.2), dpi=100)
    rows = figure.add_gridspec(2, 1, height_ratios=[1.35 * len(examples) + 0.7, 3.5])
    _draw_examples(figure.add_subfigure(rows[0]), examples, classes)
    _draw_curves(figure.add_subfigure(rows[1]), runs)
    figure.savefig(path)


def _draw_examples(
    figure: matplotlib.figure.SubFigure, examples: list[Example], classes: DatasetClasses
) -> None:
    columns = ["image", "label", *_TITLES.values(), "attention of the block"]
    axes = figure.subplots(len(examples), len(columns), squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        pictures = [
            example.image,
            colorize(example.label, classes.palette),
            *(colorize(example.predictions[name], classes.palette) for name in _TITLES),
            heat_overlay(example.image, example.attention),
        ]
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture)
            axis.set_axis_off()
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=11)
    handles = [
        matplotlib.patches.Patch(
            facecolor=(red / 255, green / 255, blue / 255), edgecolor="0.5", label=name
        )
        for name, (red, green, blue) in zip(classes.names, classes.palette, strict=True)
    ]
    figure.legend(handles=handles, ncols=len(handles), loc="lower center", frameon=False)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.94, bottom=0.07, wspace=0.03, hspace=0.05)


def _draw_curves(figure: matplotlib.figure.SubFigure, runs: list[Run]) -> None:
    loss_axis, score_axis = figure.subplots(1, 2)
    for run in runs:
        train = [row for row in run.rows if row["split"] == "train"]
        held_out = [row for row in run.rows if row["split"] != "train"]
        style = {"color": _COLORS[run.network], "alpha": 0.8}
        label = _TITLES[run.network] if run.seed == 0 else None
        loss_axis.plot([r["step"] for r in train], [r["loss"] for r in train], label=label, **style)
        score_axis.plot(
            [r["step"] for r in held_out],
            [100 * r["mIoU"] for r in held_out],
            marker="o",
            label=label,
            **style,
        )
    loss_axis.set(title="training loss, one line a seed", xlabel="step", yscale="log")
    score_axis.set(title="mIoU on the validation split, %", xlabel="step", ylim=(0, 100))
    for axis in (loss_axis, score_axis):
        axis.legend()
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(left=0.06, right=0.98, top=0.88, bottom=0.16)
