"""How a training step's cost grows with the crop, the batch, the depth and the classes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import matplotlib.figure
import numpy as np
import rich.table
from etils import epath
from ml_collections import ConfigDict

from benchmarks.comparison import print_tables, with_spread
from benchmarks.memory import CROP_STEP, GIB, device_name
from gcnet_jax.cli.timing import CONSOLE, TimedStep, measure_in_turn, median_and_spread
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.curves import save_figure
from gcnet_jax.training.program import TrainingProgram

CROP_AREA, BATCH, DEPTH, CLASSES = "crop area, pixels", "batch", "depth", "classes"
_EDGE_FACTORS, _BATCH_FACTORS = (0.5, 0.75, 1.5, 2), (2, 3, 4)
_INCHES = (12.0, 3.5)
_COLORS = ("#1f6feb", "#d1495b", "#2a9d6f")
_DEPTHS, _NUMBERS_OF_CLASSES = (18, 34, 50, 101), (2, 19, 60, 150)


class _Case(NamedTuple):
    """A training step: the config's with one thing changed, if any."""

    quantity: str | None
    value: int
    config: ConfigDict
    num_classes: int


def measure_growth(config: ConfigDict, *, num_classes: int, rounds: int) -> dict[str, Any]:
    """Measures, prints and returns steps that differ from the config's in one quantity each.

    All of them take turns. FLOPs are counted as by `measure_training`, memory is what XLA plans
    for the program on each device.

    Args:
        config: of the run.
        num_classes: of the network.
        rounds: steps measured for each, after a first one.

    Returns:
        A row for each quantity and value, with `relative`: seconds, FLOPs and memory as multiples
        of those of the config's own step. The config's values are rows as well.

    Raises:
        InputError: the batch, or a crop of those tried, does not divide over the devices.
    """
    cases = _cases(config, num_classes)
    steps, costs = {}, {}
    for number, case in enumerate(cases, start=1):
        name = _name(case)
        CONSOLE.print(f"compiling {name}, {number} of {len(cases)}")
        program = TrainingProgram(
            segmentation, case.config, DatasetClasses.numbered(case.num_classes)
        )
        compiled = program.compile()
        costs[name] = {"flops": 2 * program.multiply_adds(), "memory": compiled.memory.peak}
        steps[name] = TimedStep(program, compiled)
    seconds = measure_in_turn(steps, rounds)

    base = _name(cases[0])
    rows = []
    for quantity, own_value in _values(config, num_classes).items():
        own = _Case(quantity, own_value, config, num_classes)
        of_quantity = [case for case in cases if case.quantity == quantity]
        for case in sorted([own, *of_quantity], key=lambda case: case.value):
            name = base if case is own else _name(case)
            relative = {
                "seconds": median_and_spread(np.divide(seconds[name], seconds[base]).tolist()),
                "flops": costs[name]["flops"] / costs[base]["flops"],
                "memory": costs[name]["memory"] / costs[base]["memory"],
            }
            row = {
                "quantity": quantity,
                "value": case.value,
                "step_seconds": median_and_spread(seconds[name])._asdict(),
                "seconds_of_rounds": seconds[name],
                **costs[name],
                "relative": {**relative, "seconds": relative["seconds"]._asdict()},
            }
            rows.append(row)
    _print(rows, f"{rounds} training steps each on {device_name()}; times: the config's own")
    return {
        "device": device_name(),
        "devices": jax.device_count(),
        "rounds": rounds,
        "config": config.to_dict(),
        "num_classes": num_classes,
        "rows": rows,
    }


def _values(config: ConfigDict, num_classes: int) -> Mapping[str, int]:
    height, width = config.data.crop_size
    return {
        CROP_AREA: height * width,
        BATCH: config.training.batch_size,
        DEPTH: config.model.backbone.depth,
        CLASSES: num_classes,
    }


def _cases(config: ConfigDict, num_classes: int) -> list[_Case]:
    """The config's own step, and then what differs from it."""

    def changed(quantity: str, value: int, key: str, to: Any) -> _Case:
        copy = config.copy_and_resolve_references()
        copy.update_from_flattened_dict({key: to})
        return _Case(quantity, value, copy, num_classes)

    own = _values(config, num_classes)
    cases = [_Case(None, 0, config, num_classes)]
    for factor in _EDGE_FACTORS:
        height, width = (
            max(round(factor * edge / CROP_STEP), 1) * CROP_STEP for edge in config.data.crop_size
        )
        cases.append(changed(CROP_AREA, height * width, "data.crop_size", (height, width)))
    for factor in _BATCH_FACTORS:
        batch = factor * config.training.batch_size
        cases.append(changed(BATCH, batch, "training.batch_size", batch))
    cases += [changed(DEPTH, depth, "model.backbone.depth", depth) for depth in _DEPTHS]
    cases += [_Case(CLASSES, number, config, number) for number in _NUMBERS_OF_CLASSES]
    of_quantity = {(case.quantity, case.value): case for case in cases}
    return [case for key, case in of_quantity.items() if own.get(key[0] or "") != key[1]]


def _name(case: _Case) -> str:
    return "the config's own step" if case.quantity is None else f"{case.quantity}: {case.value}"


def _print(rows: list[dict[str, Any]], title: str) -> None:
    table = rich.table.Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in ("value", "step, s", "times", "FLOPs, times", "memory, GiB", "times"):
        table.add_column(column, justify="right", no_wrap=True)
    quantity = None
    for row in rows:
        if quantity not in (None, row["quantity"]):
            table.add_section()
        first, quantity = row["quantity"] != quantity, row["quantity"]
        relative = row["relative"]
        table.add_row(
            quantity if first else "",
            str(row["value"]),
            with_spread(row["step_seconds"]),
            with_spread(relative["seconds"]),
            f"{relative['flops']:.2f}",
            f"{row['memory'] / GIB:.3f}",
            f"{relative['memory']:.2f}",
        )
    print_tables(table)


def save_growth(path: epath.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a PNG: time, FLOPs and memory of a step by each quantity that they grow with.

    Args:
        path: of the PNG.
        rows: with `quantity`, `value` and `relative` to a common step: `seconds` with its `median`,
            `flops` and `memory`.
    """
    figure = matplotlib.figure.Figure(figsize=_INCHES, dpi=100)
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
