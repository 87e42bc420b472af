"""The network with the block and the same without it: trained, compared and shown."""

import dataclasses
import json
import time
from typing import Any

import jax
import numpy as np
import rich.console
import rich.table
from etils import epath
from jaxtyping import Array, Float, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.config import find_config, load_config
from gcnet_jax.data import dataset_classes, decode, evaluation_batches, open_split, prepare
from gcnet_jax.evaluation import (
    colorize,
    create_evaluator,
    heat_overlay,
    metrics_from_confusion,
)
from gcnet_jax.files import local, write_whole
from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.segmentation.pictures import Curve, Picture, save_page
from gcnet_jax.tasks.segmentation.trained_model import TrainedModel, load_trained_model
from gcnet_jax.tasks.segmentation.training_run import train_from_config
from gcnet_jax.training import read_rows

_NETWORKS = {"gcnet": "with the block", "fcn": "without the block"}
_TEST_SPLIT = "test"
_PICTURES = 6


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


def compare_networks(output_dir: str, *, seeds: int, steps: int | None) -> None:
    """Trains both networks, and prints, writes and draws how they compare.

    Args:
        output_dir: folder for data, runs and results; runs that are there go on.
        seeds: how often to train each, from seeds 0, 1, ...
        steps: of training; by default the configs'.
    """
    start = time.monotonic()
    folder = local(output_dir, "the data set is prepared there too")
    data_dir = folder / "data"
    prepare("context_shapes", data_dir)
    if (folder / "runs").exists():
        print(f"going on with the runs in {folder}; delete that folder to start afresh")

    runs = []
    for seed in range(seeds):
        for network, description in _NETWORKS.items():
            print(f"\n{network}: the network {description}, seed {seed}", flush=True)
            config = _config(network, seed, data_dir, steps)
            workdir = _workdir(folder, config, network)
            train_from_config(config, workdir)
            runs.append(Run(network, seed, _test(config, workdir), read_rows(workdir)))

    _print_results(runs)
    results = {
        "split": _TEST_SPLIT,
        "mIoU": [{"network": r.network, "seed": r.seed, "mIoU": r.miou} for r in runs],
        "seconds": time.monotonic() - start,
    }
    write_whole(folder / "results.json", json.dumps(results, indent=2) + "\n")
    page = folder / "page.png"
    save_page(
        page,
        _examples(folder, data_dir, steps),
        dataset_classes("context_shapes"),
        [Curve(_NETWORKS[run.network], run.rows) for run in runs],
    )
    print(f"{time.monotonic() - start:.0f} s; pictures are in {page}")


def _config(network: str, seed: int, data_dir: epath.Path, steps: int | None) -> ConfigDict:
    config = load_config(find_config(f"context_shapes/{network}"))
    config.seed = seed
    config.data.data_dir = str(data_dir)
    if steps is not None:
        config.training.total_steps = steps
    return config


def _workdir(output_dir: epath.Path, config: ConfigDict, network: str) -> epath.Path:
    """Runs of another length are other runs, not earlier parts of this one."""
    name = f"{network}_seed{config.seed}_{config.training.total_steps}steps"
    return output_dir / "runs" / name


def _trained(config: ConfigDict, workdir: epath.Path) -> TrainedModel:
    return load_trained_model(config, create_mesh(), workdir=str(workdir))


def _test(config: ConfigDict, workdir: epath.Path) -> float:
    """The mIoU on the images held out for testing."""
    mesh = create_mesh()
    trained = _trained(config, workdir)
    evaluate = create_evaluator(
        trained.graphdef, trained.classes.num_classes, config.evaluation, mesh
    )
    batches = evaluation_batches(config, _TEST_SPLIT)
    return metrics_from_confusion(evaluate(trained.variables, batches)).summary()["mIoU"]


def _print_results(runs: list[Run]) -> None:
    table = rich.table.Table(title=f"mIoU on the {_TEST_SPLIT} split, in percent")
    table.add_column("seed")
    for description in _NETWORKS.values():
        table.add_column(description, justify="right")
    table.add_column("difference", justify="right")
    for seed in sorted({run.seed for run in runs}):
        scores = [100 * run.miou for run in runs if run.seed == seed]
        table.add_row(str(seed), *(f"{s:.1f}" for s in scores), f"{scores[0] - scores[1]:+.1f}")
    means = [
        100 * np.mean([run.miou for run in runs if run.network == network]) for network in _NETWORKS
    ]
    table.add_section()
    table.add_row("mean", *(f"{m:.1f}" for m in means), f"{means[0] - means[1]:+.1f}")
    rich.console.Console().print(table)


def _examples(
    output_dir: epath.Path, data_dir: epath.Path, steps: int | None
) -> list[dict[str, Picture]]:
    """Some test images with what the networks of seed 0 make of them, as pictures by title."""
    records = open_split("context_shapes", data_dir, _TEST_SPLIT)
    samples = [decode(records[i]) for i in range(_PICTURES)]
    palette = dataset_classes("context_shapes").palette
    examples = [
        {"image": sample["image"], "label": colorize(sample["label"], palette)}
        for sample in samples
    ]
    images = np.stack([sample["image"] for sample in samples])
    attention = np.zeros(images.shape[:3], np.float32)
    for network, description in _NETWORKS.items():
        config = _config(network, 0, data_dir, steps)
        trained = _trained(config, _workdir(output_dir, config, network))
        results = trained.predictor(config).results([example["image"] for example in examples])
        for example, result in zip(examples, results, strict=True):
            example[description] = colorize(result.label, palette)
        if network == "gcnet":
            attention = _attention(trained, images)
    for example, weights in zip(examples, attention, strict=True):
        example["attention of the block"] = heat_overlay(example["image"], weights)
    return examples


def _attention(
    trained: TrainedModel, images: UInt8[np.ndarray, "b h w 3"]
) -> Float[np.ndarray, "b h w"]:
    @jax.jit
    def attention_of(variables: PyTree, images: Array) -> Array:
        return merge(trained.graphdef, variables).attention(normalize_images(images))

    return np.asarray(attention_of(trained.variables, images), np.float32)
