"""The network with the block and the same without it: trained, compared and shown."""

import dataclasses
import functools
import json
import math
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import rich.console
import rich.table
from etils import epath
from flax import nnx
from jaxtyping import Array, Float, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.cli.side_by_side import train_side_by_side
from gcnet_jax.config import find_config
from gcnet_jax.files import local, write_whole
from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import create_mesh
from gcnet_jax.task import TrainedModel
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, prepare
from gcnet_jax.tasks.segmentation.evaluation import (
    colorize,
    heat_bar,
    heat_overlay,
)
from gcnet_jax.tasks.segmentation.pictures import Picture, save_page
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training import SplitEvaluation, finished_steps, load_trained_model, read_rows
from gcnet_jax.training.curves import Curve

_NETWORKS = {"gcnet": "with the block", "fcn": "without the block"}
# Of two networks beside each other on two cores: all that comes before and after, and a step.
_SECONDS_AROUND, _SECONDS_A_STEP = 40, 0.12
_TEST_SPLIT = "test"
_PICTURES = range(3, 9)  # of the test split: by day and by night, discs and squares
_ENLARGED = 2  # times, which leaves the bar room for its figures


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run, from its first step on.

    Attributes:
        network: `gcnet` or `fcn`.
        config: of the run.
        workdir: its folder.
    """

    network: str
    config: ConfigDict
    workdir: epath.Path

    @property
    def arguments(self) -> list[str]:
        """What `gcnet train` takes for it."""
        config, training = self.config, self.config.training
        return [
            f"--config=context_shapes/{self.network}",
            f"--config.seed={config.seed}",
            f"--config.data.data_dir={config.data.data_dir}",
            f"--config.training.total_steps={training.total_steps}",
            f"--config.training.keep_newest={training.keep_newest}",
            f"--config.training.pictures={training.pictures}",
            f"--workdir={self.workdir}",
        ]

    @property
    def curve(self) -> Curve:
        """The curve of what the run has logged."""
        return Curve(_NETWORKS[self.network], read_rows(self.workdir), segmentation.best_metric)

    def evaluated_steps(self) -> dict[int, float]:
        """The mIoU on the validation split by steps, of those that are saved."""
        saved = set(finished_steps(self.workdir / "checkpoints"))
        rows = read_rows(self.workdir) if saved else []
        return {row["step"]: row["mIoU"] for row in rows if "mIoU" in row and row["step"] in saved}

    def load(self, step: int | None = None) -> TrainedModel:
        """The network with the weights of a step's checkpoint, or of the best one."""
        if step is None:
            return load_trained_model(
                segmentation, self.config, create_mesh(), workdir=str(self.workdir)
            )
        checkpoint = self.workdir / "checkpoints" / str(step)
        return load_trained_model(
            segmentation, self.config, create_mesh(), checkpoint=str(checkpoint)
        )


def compare_networks(output_dir: str, *, seeds: int, steps: int | None) -> None:
    """Trains both networks beside each other; prints, writes and draws how they compare.

    Args:
        output_dir: folder for data, runs and results; runs that are there go on.
        seeds: how often to train each, from seeds 0, 1, ...
        steps: of training; by default the configs'.

    Raises:
        InputError: a training fails, or something cannot be written.
        Preempted: SIGTERM or Ctrl-C came while networks train, and what is done is saved.
    """
    start = time.monotonic()
    folder = local(output_dir, "the data set is prepared there too")
    runs = {
        seed: {network: _run(folder, network, seed, steps) for network in _NETWORKS}
        for seed in range(seeds)
    }
    print(
        f"{2 * seeds} small networks will be trained, with a global context block and without it "
        f"beside each other: about {_time(runs[0], seeds)} on two cores",
        flush=True,
    )
    data_dir = folder / "data"
    prepare("context_shapes", data_dir)
    if (folder / "runs").exists():
        print(f"going on with the runs in {folder}; delete that folder to start afresh")

    page = _Page(folder / "page.png", runs[0])
    miou: dict[int, dict[str, float]] = {}
    for seed, pair in runs.items():
        if seeds > 1:
            print(f"\nseed {seed}", flush=True)
        trainings = {_NETWORKS[run.network]: run.arguments for run in pair.values()}
        if seed == 0:
            train_side_by_side(trainings, look=page.refresh)
        else:
            train_side_by_side(trainings)
        miou[seed] = {network: _test(run) for network, run in pair.items()}

    _print_results(miou)
    results = {
        "split": _TEST_SPLIT,
        "mIoU": [
            {"network": network, "seed": seed, "mIoU": value}
            for seed, of_seed in miou.items()
            for network, value in of_seed.items()
        ],
        "seconds": time.monotonic() - start,
    }
    write_whole(folder / "results.json", json.dumps(results, indent=2) + "\n")
    page.finish([run.curve for pair in runs.values() for run in pair.values()])
    print(f"{time.monotonic() - start:.0f} s; pictures are in {folder / 'page.png'}")


def _run(folder: epath.Path, network: str, seed: int, steps: int | None) -> Run:
    config = load_config(find_config(f"context_shapes/{network}"))
    config.seed = seed
    config.data.data_dir = str(folder / "data")
    training = config.training
    if steps is not None:
        training.total_steps = steps
    # None may go while it is looked at.
    training.keep_newest = training.total_steps // training.checkpoint_every + 1
    training.pictures = 0  # the page has them
    # Runs of another length are other runs, not earlier parts of this one.
    name = f"{network}_seed{seed}_{training.total_steps}steps"
    return Run(network, config, folder / "runs" / name)


def _time(pair: Mapping[str, Run], seeds: int) -> str:
    steps = pair["gcnet"].config.training.total_steps
    minutes = math.ceil(seeds * (_SECONDS_AROUND + _SECONDS_A_STEP * steps) / 60)
    return f"{minutes} minutes" if minutes > 1 else "a minute"


def _test(run: Run) -> float:
    """The mIoU on the images held out for testing."""
    trained = run.load()
    evaluation = SplitEvaluation(
        segmentation,
        run.config,
        trained.meaning,
        trained.graphdef,
        create_mesh(),
        split=_TEST_SPLIT,
    )
    return evaluation(trained.variables).summary["mIoU"]


def _print_results(miou: Mapping[int, Mapping[str, float]]) -> None:
    table = rich.table.Table(title=f"mIoU on the {_TEST_SPLIT} split, in percent")
    table.add_column("seed")
    for description in _NETWORKS.values():
        table.add_column(description, justify="right")
    table.add_column("difference", justify="right")

    def add(name: str, scores: list[float]) -> None:
        table.add_row(name, *(f"{s:.1f}" for s in scores), f"{scores[0] - scores[1]:+.1f}")

    scores = {seed: [100 * of_seed[n] for n in _NETWORKS] for seed, of_seed in miou.items()}
    for seed, of_seed in scores.items():
        add(str(seed), of_seed)
    if len(scores) > 1:
        table.add_section()
        add("mean", [float(np.mean(column)) for column in zip(*scores.values(), strict=True)])
    rich.console.Console().print(table)


# The page ----------------------------------------------------------------------------------------


class _Page:
    """The page of pictures: some test images with what two networks make of them, and curves.

    Args:
        path: of the PNG.
        pair: the two runs.
    """

    def __init__(self, path: epath.Path, pair: Mapping[str, Run]):
        self._path, self._pair = path, pair
        self._step = 0

    def refresh(self) -> None:
        """Draws the page anew if both networks have been evaluated once more, after equal steps."""
        scores = [run.evaluated_steps() for run in self._pair.values()]
        step = max(scores[0].keys() & scores[1].keys(), default=0)
        if step <= self._step:
            return
        self._draw(
            {n: run.load(step) for n, run in self._pair.items()},
            [run.curve for run in self._pair.values()],
        )
        shown = ", ".join(
            f"{100 * of_run[step]:.1f} {_NETWORKS[n]}"
            for n, of_run in zip(self._pair, scores, strict=True)
        )
        print(f"step {step}: mIoU {shown}; look at {self._path}", flush=True)
        self._step = step

    def finish(self, curves: list[Curve]) -> None:
        """Draws the page with the best networks, and the curves of all runs."""
        best = {n: run.load() for n, run in self._pair.items()}
        self._draw(best, curves)

    def _draw(self, networks: Mapping[str, TrainedModel], curves: list[Curve]) -> None:
        classes = DATA_SETS.meaning("context_shapes")
        examples: list[dict[str, Picture]] = [
            {"image": sample["image"], "label": colorize(sample["label"], classes.palette)}
            for sample in self._samples
        ]
        images = np.stack([sample["image"] for sample in self._samples])
        for network, trained in networks.items():
            labels = np.asarray(_labels(trained.graphdef, trained.variables, images))
            for example, label in zip(examples, labels, strict=True):
                example[_NETWORKS[network]] = colorize(label, classes.palette)
        with_block = networks["gcnet"]
        attention = _attention(with_block.graphdef, with_block.variables, images)
        maps = np.asarray(attention, np.float32)
        rows = [_with_attention(*row) for row in zip(examples, maps, strict=True)]
        save_page(self._path, rows, classes, curves)

    @functools.cached_property
    def _samples(self) -> list[dict[str, Any]]:
        data_dir = self._pair["gcnet"].config.data.data_dir
        records = DATA_SETS.open_split("context_shapes", data_dir, _TEST_SPLIT)
        return [dict(decode(records[i])) for i in _PICTURES]


def _with_attention(
    example: dict[str, Picture], weights: Float[np.ndarray, "h w"]
) -> dict[str, Picture]:
    """An image's pictures, enlarged, and beside them its attention with a bar of its colours.

    Each map has its own range, as `gcnet analyze_context attention` draws it.
    """
    overlay = _enlarged(heat_overlay(example["image"], weights))
    bar = heat_bar(weights, overlay.shape[1])
    no_bar = np.full_like(bar, 255)
    pictures = {title: np.vstack([_enlarged(x), no_bar]) for title, x in example.items()}
    return {**pictures, "attention of the block": np.vstack([overlay, bar])}


def _enlarged(picture: Picture) -> Picture:
    return picture.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)


# The network's structure is the same at every checkpoint: each is compiled once.
@functools.partial(jax.jit, static_argnums=0)
def _labels(
    graphdef: nnx.GraphDef, variables: PyTree, images: UInt8[Array, "b h w 3"]
) -> UInt8[Array, "b h w"]:
    return merge(graphdef, variables)(normalize_images(images)).argmax(-1).astype(np.uint8)


@functools.partial(jax.jit, static_argnums=0)
def _attention(
    graphdef: nnx.GraphDef, variables: PyTree, images: UInt8[Array, "b h w 3"]
) -> Float[Array, "b h w"]:
    return merge(graphdef, variables).attention(normalize_images(images))
