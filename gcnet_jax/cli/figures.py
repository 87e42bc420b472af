"""The figure of an ablation's scores."""

from collections.abc import Mapping, Sequence

import matplotlib.figure
from etils import epath

from gcnet_jax.training.curves import save_figure

_DPI = 100
_WIDTH = 8.4  # inches
_DOTS, _BAR = "#1f6feb", "#d1495b"


def save_scores(path: epath.PathLike, scores: Mapping[str, Sequence[float]]) -> None:
    """Writes a PNG: one line a name, with a dot for each of its scores and a bar at their mean.

    Args:
        path: of the PNG.
        scores: in percent, by name.
    """
    height = 1.0 + 0.28 * len(scores)
    figure = matplotlib.figure.Figure(figsize=(_WIDTH, height), dpi=_DPI)
    axis = figure.subplots()
    for position, values in enumerate(scores.values()):
        axis.plot(values, [position] * len(values), "o", color=_DOTS, alpha=0.6)
        axis.plot([sum(values) / len(values)], [position], "|", color=_BAR, markersize=16)
    axis.set_yticks(range(len(scores)), list(scores))
    axis.set_ylim(len(scores) - 0.4, -0.6)
    axis.set(xlabel="mIoU, percent; each dot one seed, the bar their mean")
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save_figure(figure, path)
