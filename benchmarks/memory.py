"""The largest batch and the largest crop that train within a budget of memory."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import rich.console
import rich.table
from ml_collections import ConfigDict

from benchmarks.comparison import OURS, print_tables, table
from benchmarks.largest_fit import LargestFit
from gcnet_jax.cli.timing import CONSOLE
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.program import ProgramMemory, TrainingProgram

GIB = 2**30
CROP_STEP = 32
"""Pixels from the shorter edge of a crop to that of the next larger one: a multiple of every
output stride."""

_MOST = 4096
"""Images a device, or steps of a crop's shorter edge, that are looked at."""

Crop = tuple[int, int]


class _Case(NamedTuple):
    """What a training step is compiled for."""

    remat_stages: tuple[int, ...]
    batch_size: int
    crop: Crop


def device_name() -> str:
    """What programs are compiled for here, such as `2 x cpu`."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def print_memory(memory: ProgramMemory) -> None:
    """Prints what a step's program needs, by part."""
    parts = {**memory._asdict(), "peak": memory.peak}
    by_part = table(
        f"memory of the step as compiled for {device_name()}, GiB a device",
        [part if part != "aliased" else "- aliased" for part in parts],
    )
    by_part.add_row(OURS, *(f"{x / GIB:.3f}" for x in parts.values()))
    print_tables(by_part)


def find_largest(
    config: ConfigDict, *, num_classes: int, budgets_gib: Sequence[float]
) -> dict[str, Any]:
    """Finds, prints and returns the largest batch and crop that fit budgets of memory.

    Training steps are compiled for shapes; nothing of them is allocated or run. What counts is the
    memory that XLA plans for a step on each device. The largest batch is that at the config's crop,
    and the largest crop that at the config's batch; each was compiled, and so was the next larger
    one, which does not fit. Both are found for several choices of `remat_stages`.

    Args:
        config: of the run.
        num_classes: of the network.
        budgets_gib: GiB of memory on each device.

    Raises:
        InputError: the config's batch does not divide over the devices.
    """
    programs: list[dict[str, Any]] = []

    @functools.cache
    def peak(case: _Case) -> int:
        programs.append(_compile(config, num_classes, case))
        return programs[-1]["peak"]

    CONSOLE.print("compiling training steps for shapes; each takes from seconds to minutes")
    start = time.perf_counter()
    rows = []
    for stages in remat_choices(config):
        searches = _searches(config, stages, peak)
        for budget in budgets_gib:
            rows.append({"budget_gib": budget, "remat_stages": list(stages)})
            rows[-1] |= {name: search(budget) for name, search in searches.items()}
    seconds = time.perf_counter() - start
    rows.sort(key=lambda row: row["budget_gib"])
    _print(rows, config)
    print(f"{len(programs)} programs were compiled in {seconds:.0f} s, for {device_name()}.")
    if jax.devices()[0].platform == "cpu":
        print("Those for GPUs and TPUs need other amounts: start this command there.")
    return {
        "device": device_name(),
        "devices": jax.device_count(),
        "batch_size": config.training.batch_size,
        "crop_size": list(config.data.crop_size),
        "seconds": seconds,
        "config": config.to_dict(),
        "rows": rows,
        "programs": programs,
    }


def remat_choices(config: ConfigDict) -> list[tuple[int, ...]]:
    """No stages, the first half of them, all of them, and those of the config."""
    stages = tuple(range(config.model.backbone.num_stages))
    theirs = tuple(sorted(config.model.backbone.remat_stages))
    choices = {(), stages[: len(stages) // 2], stages, theirs}
    return sorted(choices, key=lambda choice: (len(choice), choice))


def crop_at(number: int, crop: Crop, step: int = CROP_STEP) -> Crop:
    """The crop `number` (from 1) of those that have about the proportions of `crop`.

    Edges differ from those of `crop`, which is one of them, by multiples of `step`.
    """
    shorter = min(crop) + (number - crop_number(crop, step)) * step

    def edge(length: int) -> int:
        steps = (length * shorter / min(crop) - length) / step
        return length + round(steps) * step

    return edge(crop[0]), edge(crop[1])


def crop_number(crop: Crop, step: int = CROP_STEP) -> int:
    """Returns the position of a crop among those in its proportions."""
    return max(min(crop) // step, 1)


def _searches(
    config: ConfigDict, stages: tuple[int, ...], peak: Callable[[_Case], int]
) -> dict[str, Callable[[float], dict[str, Any]]]:
    """What finds the largest batch and the largest crop for a budget in GiB."""
    batch_size, crop = config.training.batch_size, tuple(config.data.crop_size)
    spatial = config.parallel.spatial
    unit = jax.device_count() // spatial * config.training.accumulation_steps
    step = math.lcm(CROP_STEP, spatial * config.model.backbone.output_stride)
    images = config.training.accumulation_steps  # of a unit on one device

    def of_batch(number: int) -> int:
        return peak(_Case(stages, number * unit, crop))

    def of_crop(number: int) -> int:
        return peak(_Case(stages, batch_size, crop_at(number, crop, step)))

    def area(number: int) -> float:
        height, width = crop_at(number, crop, step)
        return float(height * width)

    batches = LargestFit(of_batch, start=max(batch_size // unit, 1), most=_MOST)
    crops = LargestFit(of_crop, start=crop_number(crop, step), most=_MOST, size=area)

    def found(
        search: LargestFit, key: str, value: Callable[[int], Any], budget: float
    ) -> dict[str, Any]:
        number = search.within(budget * GIB)
        return {
            key: value(number) if number else None,
            "bytes": search.measured.get(number),
            "next": value(number + 1) if number < _MOST else None,
            "next_bytes": search.measured.get(number + 1),
        }

    return {
        "largest_batch": functools.partial(
            found, batches, "images_per_device", lambda n: n * images
        ),
        "largest_crop": functools.partial(
            found, crops, "size", lambda n: list(crop_at(n, crop, step))
        ),
    }


def _compile(config: ConfigDict, num_classes: int, case: _Case) -> dict[str, Any]:
    """The memory of one case's training step, by part."""
    config = config.copy_and_resolve_references()
    config.model.backbone.remat_stages = case.remat_stages
    config.training.batch_size, config.data.crop_size = case.batch_size, case.crop
    start = time.perf_counter()
    memory = (
        TrainingProgram(segmentation, config, DatasetClasses.numbered(num_classes)).compile().memory
    )
    seconds = time.perf_counter() - start
    CONSOLE.print(
        f"remat_stages={case.remat_stages} batch {case.batch_size} crop "
        f"{case.crop[0]}x{case.crop[1]}: {memory.peak / GIB:.3f} GiB a device ({seconds:.0f} s)",
        highlight=False,
    )
    return {**case._asdict(), **memory._asdict(), "peak": memory.peak, "seconds": seconds}


def _print(rows: Sequence[dict[str, Any]], config: ConfigDict) -> None:
    height, width = config.data.crop_size
    table = rich.table.Table(
        title=f"largest batch a device of {height}x{width} crops, largest crop of a batch of "
        f"{config.training.batch_size}, in {config.model.dtype}; the next larger do not fit",
        title_justify="left",
        pad_edge=False,
    )
    for column in ("budget, GiB", "remat_stages", "batch", "GiB", "crop", "GiB"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        batch, crop = row["largest_batch"], row["largest_crop"]
        table.add_row(
            f"{row['budget_gib']:g}",
            ",".join(map(str, row["remat_stages"])) or "none",
            *_cells([batch["images_per_device"]], batch),
            *_cells(crop["size"], crop),
        )
    rich.console.Console().print(table)


def _cells(value: list[Any] | None, found: dict[str, Any]) -> tuple[str, str]:
    """What was found and its memory; with a plus where nothing larger was looked at."""
    if found["bytes"] is None or value is None:
        return "none", ""
    more = "" if found["next"] else "+"
    return "x".join(map(str, value)) + more, f"{found['bytes'] / GIB:.3f}"
