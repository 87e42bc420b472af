"""How fast one core makes training images, with the reference's pipeline beside ours."""

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import rich.console
import rich.table
from ml_collections import ConfigDict

from benchmarks.detection_input import object_pipelines
from benchmarks.input_pipelines import Contestants, InputPipeline, label_pipelines
from gcnet_jax.cli.timing import measure_in_turn, median_and_spread
from gcnet_jax.errors import InputError

_PIPELINES: Mapping[str, Callable[..., Contestants]] = MappingProxyType(
    {"segmentation": label_pipelines, "detection": object_pipelines}
)
"""What makes the pipelines to measure, by the task of a config."""


def measure_input(
    config: ConfigDict, *, size: tuple[int, int], images: int, rounds: int, peer: bool
) -> dict[str, Any]:
    """Measures, prints and returns the speed of training input pipelines on one core.

    The time is the processor's: it counts threads in full, and neither waiting for disks nor for
    other programs. In every round each pipeline makes all images once, so that whatever else the
    machine does is spread over all of them. Random numbers differ from round to round; their
    distributions are the same for all pipelines.

    Args:
        config: of a run, with the parameters of the transforms.
        size: (height, width) of the images.
        images: how many different ones.
        rounds: how often each pipeline is measured.
        peer: whether the reference's pipeline takes turns.

    Raises:
        InputError: the pipelines of the config's task are not measured.
    """
    if config.task not in _PIPELINES:
        raise InputError(
            f"input pipelines of '{config.task}' are not measured; expected a config of "
            + " or ".join(_PIPELINES)
        )
    with tempfile.TemporaryDirectory() as folder, _one_core():
        contestants = _PIPELINES[config.task](config, Path(folder), size, images, peer)
        pipelines, stages = contestants.pipelines, contestants.stages
        ways = {f"{p.name} {p.storage}": _ProcessorTime(p, images) for p in pipelines}
        seconds = measure_in_turn(ways, rounds)
        rows = []
        for pipeline, times in zip(pipelines, seconds.values(), strict=True):
            by_stage = pipeline.stage_seconds(images)
            row = {
                "pipeline": pipeline.name,
                "storage": pipeline.storage,
                "images_per_second": median_and_spread([images / x for x in times])._asdict(),
                "seconds_of_rounds": times,
                "milliseconds_by_stage": {s: 1000 * by_stage[s] / images for s in stages},
            }
            rows.append(row)
    _compare(rows, contestants.basis)
    title = f"one core, {images} images of {size[0]}x{size[1]}, {rounds} rounds"
    _print(rows, title, contestants)
    return {
        "size": list(size),
        "images": images,
        "rounds": rounds,
        "data_config": config.data.to_dict(),
        "rows": rows,
    }


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Keeps this thread, and what OpenCV starts, to one core where the system can do that."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    try:
        if cores:
            os.sched_setaffinity(0, {max(cores)})
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
        cv2.setNumThreads(threads)


class _ProcessorTime:
    """What a pipeline takes of the processor to make all images once, after a first one."""

    def __init__(self, pipeline: InputPipeline, images: int):
        self._pipeline, self._images = pipeline, images
        self._rounds = itertools.count()
        pipeline.make(0, seed=0)  # whatever happens the first time only

    def seconds(self) -> float:
        """Returns the seconds of one round, see `Timed`."""
        seed, start = next(self._rounds), time.process_time()
        for index in range(self._images):
            self._pipeline.make(index, seed=seed)
        return time.process_time() - start


def _compare(rows: list[dict[str, Any]], basis: tuple[str, str]) -> None:
    """Enters how many times as fast each is as the basis, if that is there, round by round."""
    there = [row for row in rows if (row["pipeline"], row["storage"]) == basis]
    for row in rows if there else []:
        ratios = [
            theirs / ours
            for theirs, ours in zip(
                there[0]["seconds_of_rounds"], row["seconds_of_rounds"], strict=True
            )
        ]
        row[_times(basis)] = median_and_spread(ratios)._asdict()


def _times(basis: tuple[str, str]) -> str:
    """The key of how many times as fast as the basis a row is."""
    return f"times_as_fast_as_{basis[0].replace(' ', '_')}_on_{basis[1]}"


def _print(rows: list[dict[str, Any]], title: str, contestants: Contestants) -> None:
    basis = contestants.basis
    speeds = _table(f"{title}; times: as fast as {' on '.join(basis)}", ("images/s", "times"))
    stages = _table("milliseconds an image", tuple(contestants.stages))
    for row in rows:
        name = row["pipeline"], row["storage"]
        speed, times = row["images_per_second"], row.get(_times(basis))
        speeds.add_row(
            *name,
            f"{speed['median']:.1f} ± {speed['spread']:.1f}",
            f"{times['median']:.2f} ± {times['spread']:.2f}" if times else "",
        )
        by_stage = row["milliseconds_by_stage"]
        stages.add_row(*name, *(f"{by_stage[stage]:.1f}" for stage in contestants.stages))
    rich.console.Console().print(speeds, stages)


def _table(title: str, columns: tuple[str, ...]) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", pad_edge=False)
    for column in ("pipeline", "storage"):
        table.add_column(column, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table
