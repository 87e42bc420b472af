"""How much the context blocks of a trained network depend on the query: numbers and pictures."""

import collections
import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import jax
import numpy as np
import rich.console
import rich.progress
import rich.table
import rich.text
from etils import epath
from jaxtyping import Array, Float, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.analysis import (
    AttentionMaps,
    Distances,
    context_blocks,
    heat_bar,
    heat_overlay,
    positions_seen,
    query_distances,
)
from gcnet_jax.analysis.attention_maps import Point
from gcnet_jax.errors import InputError, UsageError
from gcnet_jax.files import write_whole
from gcnet_jax.models import BlockInput, merge, record_block_inputs
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import create_mesh
from gcnet_jax.task import Attention, SeenImage, TrainedModel
from gcnet_jax.tasks import task_of
from gcnet_jax.tasks.picture_rows import Picture, save_examples
from gcnet_jax.training import load_trained_model

Image = UInt8[np.ndarray, "h w 3"]
Lengths = tuple[tuple[str, tuple[int, int]], ...]
"""Rows and columns that an image has in the features of blocks, by the blocks' paths."""

_COLORS = ((66, 135, 245), (245, 166, 35), (80, 227, 194), (235, 64, 100))  # of query points, RGB
_PICTURE_WIDTH = 320  # pixels


@dataclasses.dataclass(frozen=True)
class BlockReport:
    """What was measured of one context block.

    Attributes:
        kind: its class.
        size: the spatial axes of the features that it gets, of the first image.
        queries: how many positions of these the distances of attention maps come from.
        distances: of each image.
    """

    kind: str
    size: tuple[int, ...]
    queries: int
    distances: Sequence[Distances]

    def to_plain(self) -> dict[str, Any]:
        """What goes to JSON: mean and standard deviation over images; null where not defined."""
        measures = {}
        for name in Distances._fields:
            values = np.array([getattr(image, name) for image in self.distances], np.float64)
            defined = values[np.isfinite(values)]
            measures[name] = None
            if len(defined):
                measures[name] = {"mean": float(defined.mean()), "std": float(defined.std())}
        where = {"block": self.kind, "size": list(self.size), "queries": self.queries}
        return where | measures


def parse_point(text: str) -> Point:
    """A point as `X,Y`, from `0,0` (top left) to `1,1`.

    Raises:
        UsageError: it is something else.
    """
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = math.nan
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise UsageError(f"--point is {text!r}; expected X,Y from 0,0 to 1,1, such as 0.25,0.5")
    return x, y


def study_attention(
    config: ConfigDict,
    model: dict[str, Any],
    output_dir: epath.Path,
    *,
    split: str | None,
    images: int,
    positions: int,
    pictures: int,
    points: Sequence[Point],
) -> None:
    """Measures, prints, and writes `attention.json` and a page of pictures a block.

    Args:
        config: of the run.
        model: which model, as `load_trained_model` takes it.
        output_dir: a folder for the results.
        split: of the data set; the config's if none.
        images: how many, spread evenly over the split.
        positions: how many queries to draw in each image; 0 for all.
        pictures: how many of the images to show.
        points: the queries whose maps to show, in what the network sees of an image.

    Raises:
        InputError: the network has no context block, sees images in windows, or model or data are
            not there.
    """
    task = task_of(config)
    if task.attention is None:
        raise InputError(f"networks of the task {config.task!r} have no attention to look at")
    if split is not None:
        config = config.copy_and_resolve_references()
        config.evaluation.split = split
    config = task.with_evaluation_split(config)
    split = str(config.evaluation.split)
    there = task.data_sets.split_size(config.data.name, config.data.data_dir, split)
    trained = load_trained_model(task, config, create_mesh(jax.local_devices()[:1]), **model)
    network = merge(trained.graphdef, trained.variables)
    maps = AttentionMaps(network, task.attention, config)
    if not maps.blocks:
        raise InputError("this network has no context blocks")
    see = task.attention.seen

    def load(count: int) -> Iterator[SeenImage]:
        return (see(image, config) for _, image in task.evaluation_images(config, count))

    images = min(images, there)
    console = rich.console.Console(stderr=True)
    counted = rich.progress.track(load(images), "measuring", total=images, console=console)
    reports = _measure(trained, task.attention, counted, positions)
    plain = {path: report.to_plain() for path, report in reports.items()}
    for path, examples in _examples(maps, load(pictures), points).items():
        save_examples(output_dir / f"{path}.png", examples)

    rich.console.Console().print(_table(plain, f"{config.data.name} {split}, {images} images"))
    result = {
        "dataset": config.data.name,
        "split": split,
        "images": images,
        "checkpoint": str(trained.checkpoint),
        "blocks": plain,
    }
    write_whole(output_dir / "attention.json", json.dumps(result, indent=2) + "\n")
    pages = ", ".join(f"{path}.png" for path in reports)
    print(f"written to {output_dir}: attention.json and {pages}")


def _measure(
    trained: TrainedModel, attention: Attention, images: Iterable[SeenImage], positions: int
) -> dict[str, BlockReport]:
    """The report on each block, by its path."""

    def inputs_of(variables: PyTree, pixels: Array, sizes: Array) -> dict[str, BlockInput]:
        model, images = merge(trained.graphdef, variables), normalize_images(pixels[None], sizes)
        return record_block_inputs(model, lambda: attention.run(model, images, sizes))

    @functools.cache
    def lengths_of(shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Rows and columns of the features that blocks get of an array."""
        pixels = jax.ShapeDtypeStruct(shape, np.uint8), jax.ShapeDtypeStruct((1, 2), np.int32)
        inputs = jax.eval_shape(inputs_of, trained.variables, *pixels)
        return {path: x.features.shape[1:3] for path, x in inputs.items()}

    @functools.partial(jax.jit, static_argnames="seen_of")
    def distances_of(
        variables: PyTree, pixels: Array, sizes: Array, key: Array, *, seen_of: Lengths
    ) -> dict[str, Distances]:
        blocks = context_blocks(merge(trained.graphdef, variables))
        inputs, found = inputs_of(variables, pixels, sizes), {}
        for path, lengths in seen_of:
            features, mask = inputs[path]
            count, queries = math.prod(lengths), None
            if 0 < positions < count:
                queries = jax.random.choice(key, count, (positions,), replace=False)
            mask = None if mask is None else mask[0]
            found[path] = query_distances(
                blocks[path], features[0], queries, mask=mask, size=lengths
            )
        return found

    first: Lengths = ()
    found: dict[str, list[Distances]] = collections.defaultdict(list)
    for index, image in enumerate(images):
        lengths = lengths_of(image.pixels.shape)
        seen_of = tuple((path, positions_seen(image, shape)) for path, shape in lengths.items())
        first = first or seen_of
        sizes, key = np.array([image.size], np.int32), jax.random.key(index)
        of_image = distances_of(trained.variables, image.pixels, sizes, key, seen_of=seen_of)
        for path, of_block in of_image.items():
            found[path].append(of_block)
    blocks = context_blocks(merge(trained.graphdef, trained.variables))
    return {
        path: BlockReport(
            type(blocks[path]).__name__,
            lengths,
            min(math.prod(lengths), positions or math.prod(lengths)),
            found[path],
        )
        for path, lengths in first
    }


def _examples(
    maps: AttentionMaps, images: Iterable[SeenImage], points: Sequence[Point]
) -> dict[str, list[dict[str, Picture]]]:
    """For each block, by its path, the pictures of each image."""
    examples: dict[str, list[dict[str, Picture]]] = {path: [] for path in maps.blocks}
    for seen in images:
        height, width = seen.size
        for path, weights in maps.of_seen(seen, list(maps.blocks), points).items():
            shared = not maps.blocks[path]
            pixels = seen.pixels[:height, :width]
            examples[path].append(_example(pixels, weights, points, query_independent=shared))
    return examples


def _example(
    image: Image,
    maps: Float[np.ndarray, "maps h w"],
    points: Sequence[Point],
    *,
    query_independent: bool,
) -> dict[str, Picture]:
    """The image with its query points, and each map over it above its colour bar, by title."""
    height = round(image.shape[0] * _PICTURE_WIDTH / image.shape[1])
    image = cv2.resize(image, (_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
    weights = [cv2.resize(x, (_PICTURE_WIDTH, height)) for x in maps.astype(np.float32)]
    overlays = [heat_overlay(image, x) for x in weights]
    bars = [heat_bar(x, _PICTURE_WIDTH) for x in weights]
    no_bar = np.full_like(bars[0], 255)
    if query_independent:
        return {
            "image": np.vstack([image, no_bar]),
            "the map of every query": np.vstack([overlays[0], bars[0]]),
        }
    pictures = {}
    for number, (point, overlay, bar) in enumerate(zip(points, overlays, bars, strict=True)):
        color = _COLORS[number % len(_COLORS)]
        _mark(image, point, color)
        _mark(overlay, point, color)
        pictures[f"map of query {number + 1}"] = np.vstack([overlay, bar])
    return {"queries": np.vstack([image, no_bar]), **pictures}


def _mark(picture: Picture, point: Point, color: tuple[int, int, int]) -> None:
    height, width, _ = picture.shape
    centre = (int(point[0] * (width - 1)), int(point[1] * (height - 1)))
    cv2.circle(picture, centre, 7, (255, 255, 255), 2, cv2.LINE_AA)
    cv2.circle(picture, centre, 5, color, cv2.FILLED, cv2.LINE_AA)


def _table(plain: dict[str, dict[str, Any]], title: str) -> rich.table.Table:
    table = rich.table.Table(
        title=rich.text.Text(title),
        caption="average distances between queries: cosine, and Jensen-Shannon divergence",
    )
    table.add_column("where", overflow="fold")
    for heading in ("block", "positions"):
        table.add_column(heading, no_wrap=True)
    for heading in ("input", "output", "attention", "JSD"):
        table.add_column(heading, justify="right", no_wrap=True)
    for path, report in plain.items():
        cells = (_cell(report[name]) for name in Distances._fields)
        table.add_row(
            rich.text.Text(path), report["block"], "x".join(map(str, report["size"])), *cells
        )
    return table


def _cell(measure: dict[str, float] | None) -> str:
    if measure is None:
        return "-"
    mean = measure["mean"]
    return f"{mean:.4f}" if mean == 0 or mean >= 5e-5 else f"{max(mean, 1e-9):.0e}"
