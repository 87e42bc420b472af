"""A network with the block and the same without it: trained beside each other and compared."""

import dataclasses
import json
import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import rich.console
import rich.table
from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.cli.side_by_side import train_side_by_side
from gcnet_jax.config import find_config
from gcnet_jax.files import local, write_whole
from gcnet_jax.parallel import create_mesh
from gcnet_jax.task import Task, TrainedModel
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.training import SplitEvaluation, finished_steps, load_trained_model, read_rows
from gcnet_jax.training.curves import Curve

WITH_BLOCK, WITHOUT_BLOCK = "with the block", "without the block"
_TEST_SPLIT = "test"


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """What a pair of networks shows of the block.

    Attributes:
        task: of both.
        configs: the names of both configs, those with the block first, by what networks are called
            in files.
        prepare: writes the data set, given the folder of all data sets.
        few_steps: of training, by which the difference is seen; the configs have more.
        seconds_around: of all that comes before and after the steps of both, on two cores.
        seconds_a_step: of both beside each other, on two cores.
        draw: writes the page of pictures, given its path, both networks, curves and the folder of
            all data sets.
    """

    task: Task[Any]
    configs: Mapping[str, str]
    prepare: Callable[[epath.Path], object]
    few_steps: int
    seconds_around: float
    seconds_a_step: float
    draw: Callable[[epath.Path, "Pair", Sequence[Curve], epath.Path], None]

    def words(self, network: str) -> str:
        """What people call one of the networks."""
        return WITH_BLOCK if network == next(iter(self.configs)) else WITHOUT_BLOCK

    def duration(self, steps: int, seeds: int) -> str:
        """About how long it takes on two cores."""
        minutes = math.ceil(seeds * (self.seconds_around + self.seconds_a_step * steps) / 60)
        return f"{minutes} minutes" if minutes > 1 else "a minute"


@dataclasses.dataclass(frozen=True)
class Pair:
    """Both networks with their weights."""

    with_block: TrainedModel[Any]
    without_block: TrainedModel[Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run, from its first step on.

    Attributes:
        shown: what it is a part of.
        network: which of the two.
        config: of the run.
        workdir: its folder.
    """

    shown: Demonstration
    network: str
    config: ConfigDict
    workdir: epath.Path

    @property
    def words(self) -> str:
        """What people call its network."""
        return self.shown.words(self.network)

    @property
    def arguments(self) -> list[str]:
        """What `gcnet train` takes for it."""
        config, training = self.config, self.config.training
        return [
            f"--config={self.shown.configs[self.network]}",
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
        return Curve(self.words, read_rows(self.workdir), self.shown.task.best_metric)

    def evaluated_steps(self) -> dict[int, float]:
        """The best metric on the validation split by steps, of those that are saved."""
        saved, metric = set(finished_steps(self.workdir / "checkpoints")), self.curve.metric
        rows = read_rows(self.workdir) if saved else []
        return {row["step"]: row[metric] for row in rows if metric in row and row["step"] in saved}

    def load(self, step: int | None = None) -> TrainedModel[Any]:
        """The network with the weights of a step's checkpoint, or of the best one."""
        task, mesh = self.shown.task, create_mesh()
        if step is None:
            return load_trained_model(task, self.config, mesh, workdir=str(self.workdir))
        checkpoint = self.workdir / "checkpoints" / str(step)
        return load_trained_model(task, self.config, mesh, checkpoint=str(checkpoint))


def compare_networks(
    shown: Demonstration, output_dir: str, *, seeds: int, steps: int | None
) -> None:
    """Trains both networks beside each other; prints, writes and draws how they compare.

    Args:
        shown: the networks and their data.
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
        seed: [_run(shown, folder, network, seed, steps) for network in shown.configs]
        for seed in range(seeds)
    }
    duration = shown.duration(runs[0][0].config.training.total_steps, seeds)
    print(
        f"{2 * seeds} small networks will be trained, with a global context block and without it "
        f"beside each other: about {duration} on two cores",
        flush=True,
    )
    shown.prepare(folder / "data")
    if (folder / "runs").exists():
        print(f"going on with the runs in {folder}; delete that folder to start afresh")

    page = _Page(folder / "page.png", runs[0])
    scores: dict[int, dict[str, float]] = {}
    for seed, pair in runs.items():
        if seeds > 1:
            print(f"\nseed {seed}", flush=True)
        trainings = {run.words: run.arguments for run in pair}
        if seed == 0:
            train_side_by_side(trainings, look=page.refresh)
        else:
            train_side_by_side(trainings)
        scores[seed] = {run.network: _test(run) for run in pair}

    _print_results(shown, scores)
    metric = shown.task.best_metric
    results = {
        "split": _TEST_SPLIT,
        metric: [
            {"network": network, "seed": seed, metric: value}
            for seed, of_seed in scores.items()
            for network, value in of_seed.items()
        ],
        "seconds": time.monotonic() - start,
    }
    write_whole(folder / "results.json", json.dumps(results, indent=2) + "\n")
    page.finish([run.curve for pair in runs.values() for run in pair])
    print(f"{time.monotonic() - start:.0f} s; pictures are in {folder / 'page.png'}")
    print(_what_next(runs[0]))


def _run(
    shown: Demonstration, folder: epath.Path, network: str, seed: int, steps: int | None
) -> Run:
    config = load_config(find_config(shown.configs[network]))
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
    return Run(shown, network, config, folder / "runs" / name)


def _what_next(pair: Sequence[Run]) -> str:
    """Commands for both networks: the page, and one file of that with the block."""
    demo = shlex.join(["gcnet", "demo", *(str(run.workdir) for run in pair)])
    first, file = pair[0].workdir, f"{pair[0].network}.gcnet"
    export = shlex.join(["gcnet", "export", str(first), f"--output={first.parent.parent / file}"])
    return f"on a page:         {demo}\nfor other places:  {export}"


def _test(run: Run) -> float:
    """The best metric on the images held out for testing."""
    trained = run.load()
    evaluation = SplitEvaluation(
        run.shown.task,
        run.config,
        trained.meaning,
        trained.graphdef,
        create_mesh(),
        split=_TEST_SPLIT,
    )
    return evaluation(trained.variables).summary[run.shown.task.best_metric]


def _print_results(shown: Demonstration, scores: Mapping[int, Mapping[str, float]]) -> None:
    table = rich.table.Table(
        title=f"{shown.task.best_metric} on the {_TEST_SPLIT} split, in percent"
    )
    table.add_column("seed")
    for network in shown.configs:
        table.add_column(shown.words(network), justify="right")
    table.add_column("difference", justify="right")

    def add(name: str, row: Sequence[float]) -> None:
        table.add_row(name, *(f"{s:.1f}" for s in row), f"{row[0] - row[1]:+.1f}")

    rows = {seed: [100 * of_seed[n] for n in shown.configs] for seed, of_seed in scores.items()}
    for seed, row in rows.items():
        add(str(seed), row)
    if len(rows) > 1:
        table.add_section()
        add("mean", [float(np.mean(column)) for column in zip(*rows.values(), strict=True)])
    rich.console.Console().print(table)


class _Page:
    """The page of pictures: some test images with what two networks make of them, and curves.

    Args:
        path: of the PNG.
        runs: the two, that with the block first.
    """

    def __init__(self, path: epath.Path, runs: Sequence[Run]):
        self._path, self._runs = path, runs
        self._step = 0

    def refresh(self) -> None:
        """Draws the page anew if both networks have been evaluated once more, after equal steps."""
        first, second = (run.evaluated_steps() for run in self._runs)
        step = max(first.keys() & second.keys(), default=0)
        if step <= self._step:
            return
        self._draw(step, [run.curve for run in self._runs])
        shown = ", ".join(
            f"{100 * scores[step]:.1f} {run.words}"
            for run, scores in zip(self._runs, (first, second), strict=True)
        )
        metric = self._runs[0].shown.task.best_metric
        print(f"step {step}: {metric} {shown}; look at {self._path}", flush=True)
        self._step = step

    def finish(self, curves: Sequence[Curve]) -> None:
        """Draws the page with the best networks, and the curves of all runs."""
        self._draw(None, curves)

    def _draw(self, step: int | None, curves: Sequence[Curve]) -> None:
        run = self._runs[0]
        pair = Pair(*(run.load(step) for run in self._runs))
        run.shown.draw(self._path, pair, curves, epath.Path(run.config.data.data_dir))
