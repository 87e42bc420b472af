"""Sections of the reports of evaluations that all tasks have, and pieces of their tables."""

import contextlib
import datetime
import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gcnet_jax.config import differences, to_plain, versions
from gcnet_jax.errors import InputError
from gcnet_jax.task import Evaluated
from gcnet_jax.tasks.configs import from_plain
from gcnet_jax.training import read_metadata, read_rows
from gcnet_jax.training.curves import Curve, curves_for_page
from gcnet_jax.training.html import Html, element, joined, lines, picture


def training_section(evaluation: Evaluated, metric: str) -> Html:
    """The curves of the run that the checkpoint lies in; nothing of any other checkpoint.

    Args:
        evaluation: of the checkpoint.
        metric: of evaluations during the training, that is drawn.
    """
    step = evaluation.checkpoint
    assert step is not None
    workdir = step.parent.parent
    rows = read_rows(workdir) if step.parent.name == "checkpoints" else []
    if not rows:
        return Html()
    names = ("training loss by step", f"held-out {metric} by step")
    charts = [
        picture(chart, "svg+xml", alt=alt, class_="chart")
        for alt, chart in zip(
            names, curves_for_page(Curve(workdir.name, rows, metric)), strict=True
        )
    ]
    note = f"The figures of this page are of step {step.name}."
    return joined([element("p", note, class_="note"), element("div", *charts, class_="charts")])


def bar(value: float, *, digits: int = 2) -> Html:
    """A cell of a table with a figure from 0 to 1 in percent, and a bar of that length.

    Args:
        value: the figure; NaN stands for none.
        digits: of it, behind the point.
    """
    width = 0.0 if np.isnan(value) else 100 * value
    figure = "–" if np.isnan(value) else f"{100 * value:.{digits}f}"
    filled = element("i", style=f"width:{width:.1f}%")
    return element("td", element("b", filled), element("span", figure), class_="bar")


def swatch(color: Sequence[int]) -> Html:
    """A patch of an RGB colour."""
    return element("i", class_="swatch", style=f"background:rgb({','.join(map(str, color))})")


def repeat_section(evaluation: Evaluated, config: ConfigDict, command: str) -> Html:
    """How an evaluation can be repeated: the command, versions, and what differs from the training.

    Args:
        evaluation: of a checkpoint.
        config: of the evaluation.
        command: with which it can be repeated.
    """
    plain, checkpoint = to_plain(config), evaluation.checkpoint
    assert checkpoint is not None
    trained = read_metadata(checkpoint) if checkpoint.is_dir() else {}
    facts = {
        "checkpoint": str(checkpoint),
        "versions": _listed(versions()),
        "trained with": _listed(trained.get("versions")),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "written": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    }
    facts = {name: value for name, value in facts.items() if value}
    listed = [joined([element("dt", name), element("dd", facts[name])]) for name in facts]
    return joined(
        [
            element("pre", lines(command)),
            element("dl", *listed),
            _differences(trained.get("config"), plain),
            element(
                "details",
                element("summary", "The whole config"),
                element("pre", lines(json.dumps(plain, indent=2))),
            ),
        ]
    )


def _listed(numbers: Any) -> str:
    """Versions of a checkpoint's metadata, which may hold anything."""
    if not isinstance(numbers, dict):
        return ""
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def _differences(trained: Any, evaluated: dict[str, Any]) -> Html:
    if trained is None:
        return element("p", "The weights are from a file that says no config.", class_="note")
    with contextlib.suppress(InputError):  # of another version of the library: then as it is
        trained = to_plain(from_plain(trained))  # with the defaults of keys that it has not
    changed = differences(trained, evaluated)
    if not changed:
        return element("p", "The config is that of the training.", class_="note")
    title = element("p", "The config differs from that of the training:", class_="note")
    return joined([title, element("pre", lines("\n".join(changed)))])
