"""How fast one core makes training images, with mmsegmentation's pipeline beside ours."""

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import rich.console
import rich.progress
import rich.table
from ml_collections import ConfigDict

from benchmarks.input_pipelines import (
    STAGES,
    STORAGES,
    InputPipeline,
    OurPipeline,
    PeerPipeline,
    write_source,
)
from benchmarks.scenes import draw_scene
from gcnet_jax.cli.timing import CONSOLE, measure_in_turn, median_and_spread


def measure_input(
    data_config: ConfigDict, *, size: tuple[int, int], images: int, rounds: int, peer: bool
) -> dict[str, Any]:
    """Measures, prints and returns the speed of training input pipelines on one core.

    The time is the processor's: it counts threads in full, and neither waiting for disks nor for
    other programs. In every round each pipeline makes all images once, so that whatever else the
    machine does is spread over all of them. Random numbers differ from round to round; their
    distributions are the same for all pipelines.

    Args:
        data_config: the parameters of the transforms.
        size: (height, width) of the images.
        images: how many different ones.
        rounds: how often each pipeline is measured.
        peer: whether mmsegmentation's pipeline takes turns.
    """
    with tempfile.TemporaryDirectory() as folder, _one_core():
        pipelines = _pipelines(data_config, Path(folder), size, images, peer)
        ways = {f"{p.name} {p.storage}": _ProcessorTime(p, images) for p in pipelines}
        seconds = measure_in_turn(ways, rounds)
        rows = []
        for pipeline, times in zip(pipelines, seconds.values(), strict=True):
            stages = pipeline.stage_seconds(images)
            row = {
                "pipeline": pipeline.name,
                "storage": pipeline.storage,
                "images_per_second": median_and_spread([images / x for x in times])._asdict(),
                "seconds_of_rounds": times,
                "milliseconds_by_stage": {s: 1000 * stages[s] / images for s in STAGES},
            }
            rows.append(row)
    _compare(rows)
    _print(rows, f"one core, {images} images of {size[0]}x{size[1]}, {rounds} rounds")
    return {
        "size": list(size),
        "images": images,
        "rounds": rounds,
        "data_config": data_config.to_dict(),
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


def _pipelines(
    data_config: ConfigDict, folder: Path, size: tuple[int, int], images: int, peer: bool
) -> list[InputPipeline]:
    scenes = (
        draw_scene(seed, size)
        for seed in rich.progress.track(range(images), "drawing images", console=CONSOLE)
    )
    write_source(scenes, folder)
    pipelines: list[InputPipeline] = [OurPipeline(data_config, folder, x) for x in STORAGES]
    if peer:
        pipelines += [PeerPipeline(data_config, folder, x) for x in STORAGES]
    return pipelines


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


def _compare(rows: list[dict[str, Any]]) -> None:
    """Enters how many times as fast each is as mmsegmentation on PNG files, round by round."""
    peer = [r for r in rows if r["pipeline"] == PeerPipeline.name and r["storage"] == "png"]
    for row in rows if peer else []:
        ratios = [
            theirs / ours
            for theirs, ours in zip(
                peer[0]["seconds_of_rounds"], row["seconds_of_rounds"], strict=True
            )
        ]
        row["times_as_fast_as_mmsegmentation_on_png"] = median_and_spread(ratios)._asdict()


def _print(rows: list[dict[str, Any]], title: str) -> None:
    speeds = _table(f"{title}; times: as fast as mmsegmentation on PNG", ("images/s", "times"))
    stages = _table("milliseconds an image", STAGES)
    for row in rows:
        name = row["pipeline"], row["storage"]
        speed, times = row["images_per_second"], row.get("times_as_fast_as_mmsegmentation_on_png")
        speeds.add_row(
            *name,
            f"{speed['median']:.1f} ± {speed['spread']:.1f}",
            f"{times['median']:.2f} ± {times['spread']:.2f}" if times else "",
        )
        stages.add_row(*name, *(f"{row['milliseconds_by_stage'][x]:.1f}" for x in STAGES))
    rich.console.Console().print(speeds, stages)


def _table(title: str, columns: tuple[str, ...]) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", pad_edge=False)
    for column in ("pipeline", "storage"):
        table.add_column(column, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table
