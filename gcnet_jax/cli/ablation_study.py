"""The variants of a network that differ in their context block: trained, measured and tabulated."""

import dataclasses
import functools
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import rich.console
import rich.table
import rich.text
from etils import epath
from flax import nnx
from ml_collections import ConfigDict

from gcnet_jax.analysis import image_cost, parameter_count, select_variant
from gcnet_jax.cli import options
from gcnet_jax.cli.figures import save_scores
from gcnet_jax.cli.timing import MedianAndSpread, median_and_spread, step_seconds
from gcnet_jax.config import differences, to_plain
from gcnet_jax.errors import InputError
from gcnet_jax.files import write_whole
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.runs import train_from_config
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import DATA_SETS
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training import SplitEvaluation, load_trained_model


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one variant.

    Attributes:
        name: of the variant.
        miou: on held-out images, 0 to 1, one a seed.
        parameters: of the network.
        multiply_adds: for one image of the crop's size.
        step_seconds: time of a training step, median and half the distance of the quartiles.
    """

    name: str
    miou: tuple[float, ...]
    parameters: int
    multiply_adds: int
    step_seconds: MedianAndSpread

    def cells(self, first: "Row") -> list[str]:
        """The row of the table, with the ratio of its step time to the first row's."""
        milliseconds, spread = 1000 * self.step_seconds.median, 1000 * self.step_seconds.spread
        scores = 100 * np.array(self.miou)
        deviation = f" ± {scores.std(ddof=1):.1f}" if len(scores) > 1 else ""
        return [
            self.name,
            f"{scores.mean():.1f}{deviation}",
            f"{self.parameters / 1e6:.4f}",
            f"{self.multiply_adds / 1e9:.4f}",
            f"{self.step_seconds.median / first.step_seconds.median:.2f}",
            f"{milliseconds:.1f} ± {spread:.1f}",
            " ".join(f"{score:.1f}" for score in scores),
        ]


_HEADINGS = (
    "variant",
    "mIoU",
    "params (M)",
    "MAdds (G)",
    "step (ratio)",
    "step (ms)",
    "mIoU by seed",
)
_ON_SCREEN = 5  # of these; the file has all


def study_variants(
    config: ConfigDict,
    variants: Sequence[str],
    output_dir: str,
    *,
    seeds: int,
    split: str,
    timing_steps: int,
) -> None:
    """Trains each variant from each seed, and prints and writes the table.

    Args:
        config: of the network whose context block varies.
        variants: names of `gcnet_jax.analysis.VARIANTS`.
        output_dir: folder for runs and results; runs that are done are not repeated.
        seeds: how many, from 0.
        split: to compare on.
        timing_steps: training steps of each variant to time.

    Raises:
        InputError: there is no such variant, split or data set, the network can have none of the
            variants, or the folder is of another study.
    """
    configs = _distinct({name: _variant(config, name) for name in variants})
    num_classes = DATA_SETS.meaning(config.data.name, config.data.data_dir).num_classes
    DATA_SETS.split_size(config.data.name, config.data.data_dir, split)  # fail now, not in an hour
    folder = options.output_folder(output_dir, "--output_dir")
    runs = {
        (name, seed): _Run(config, seed, split, folder / "runs" / f"{name}_{seed}")
        for seed in range(seeds)
        for name, config in configs.items()
    }
    for run in runs.values():
        run.check_config()
    _check_table(folder / "ablation.json", configs)
    costs = _costs(configs, num_classes)
    configs = {name: configs[name] for name in costs}
    runs = {(name, seed): run for (name, seed), run in runs.items() if name in costs}

    print("timing training steps, all variants in turn", flush=True)
    seconds = step_seconds(configs, num_classes=num_classes, rounds=timing_steps)

    scores: dict[str, list[float]] = {name: [] for name in configs}
    for done, ((name, seed), run) in enumerate(runs.items()):
        print(f"\nrun {done + 1} of {len(runs)}: {name}, seed {seed}", flush=True)
        scores[name].append(run.score())

    rows = [
        Row(name, tuple(scores[name]), *costs[name], median_and_spread(seconds[name]))
        for name in configs
    ]
    _write(rows, config, seeds, split, folder)


def _distinct(configs: dict[str, ConfigDict]) -> dict[str, ConfigDict]:
    """The configs without those whose network an earlier one has."""
    distinct: dict[str, ConfigDict] = {}
    for name, config in configs.items():
        same = [n for n, other in distinct.items() if other.model.eq_as_configdict(config.model)]
        if same:
            print(f"{name} is left out: it is {same[0]} with this config")
        else:
            distinct[name] = config
    return distinct


def _variant(config: ConfigDict, name: str) -> ConfigDict:
    return select_variant(config.copy_and_resolve_references(), name)


def _costs(configs: Mapping[str, ConfigDict], num_classes: int) -> dict[str, tuple[int, int]]:
    """Parameters, and multiply-adds of one image, of each variant that the network can have.

    Raises:
        InputError: it can have none.
    """
    costs, reasons = {}, []
    for name, config in configs.items():
        build = functools.partial(build_model, config.model, num_classes=num_classes)
        try:
            model = nnx.eval_shape(build)
        except InputError as error:  # a place or a ratio that this network has not
            reasons.append(f"{name} is left out: {error}")
        else:
            costs[name] = (parameter_count(model), image_cost(model, config.data.crop_size))
    if not costs:
        raise InputError(f"this network can have none of the variants: {'; '.join(reasons)}")
    for reason in reasons:
        print(reason)
    return costs


class _Run:
    """The training of one variant from one seed, and its score."""

    def __init__(self, config: ConfigDict, seed: int, split: str, workdir: epath.Path):
        self._config = config.copy_and_resolve_references()
        self._config.seed = seed
        self._split = split
        self._workdir = workdir

    def check_config(self) -> None:
        """Raises InputError if the workdir is of another config, wherever its data are."""
        file = self._workdir / "config.json"
        if not file.exists():
            return
        theirs, ours = json.loads(file.read_text())["config"], to_plain(self._config)
        for plain in (theirs, ours):
            del plain["data"]["data_dir"], plain["data"]["num_workers"]
        if found := differences(theirs, ours):
            raise InputError(
                f"{file} is of another config ({'; '.join(found)}); choose another --output_dir"
            )

    def score(self) -> float:
        """Trains, unless that has been done, and returns the mIoU on the split to compare on."""
        file = self._workdir / f"{self._split}.json"
        if file.exists():
            miou = json.loads(file.read_text())["mIoU"]
            print(f"done before: mIoU {100 * miou:.1f}")
            return miou
        config = self._config
        train_from_config(config, self._workdir)
        mesh = create_mesh()
        trained = load_trained_model(segmentation, config, mesh, workdir=str(self._workdir))
        evaluation = SplitEvaluation(
            segmentation, config, trained.meaning, trained.graphdef, mesh, split=self._split
        )
        miou = evaluation(trained.variables).summary["mIoU"]
        write_whole(file, json.dumps({"mIoU": miou}) + "\n")
        return miou


def _check_table(file: epath.Path, names: Collection[str]) -> None:
    """Raises InputError if the table that would be replaced has more rows."""
    if not file.exists():
        return
    rows = [row["name"] for row in json.loads(file.read_text())["rows"]]
    if lost := [name for name in rows if name not in names]:
        raise InputError(
            f"{file} has the rows {', '.join(lost)} as well, which would be lost: name them too in "
            "--variants, or choose another --output_dir"
        )


def _write(
    rows: Sequence[Row], config: ConfigDict, seeds: int, split: str, output_dir: epath.Path
) -> None:
    table = rich.table.Table(title=rich.text.Text(f"{config.data.name} {split}, seeds: {seeds}"))
    for position, heading in enumerate(_HEADINGS[:_ON_SCREEN]):
        table.add_column(
            heading, justify="left" if position == 0 else "right", no_wrap=not position
        )
    lines = ["| " + " | ".join(_HEADINGS) + " |", "| --- |" + " ---: |" * (len(_HEADINGS) - 1)]
    for row in rows:
        cells = row.cells(rows[0])
        table.add_row(*cells[:_ON_SCREEN])
        lines.append("| " + " | ".join(cells) + " |")
    rich.console.Console().print(table)

    result: Mapping[str, Any] = {
        "dataset": config.data.name,
        "split": split,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "seeds": list(range(seeds)),
        "config": to_plain(config),
        "rows": [
            dataclasses.asdict(row)
            | {
                "miou_mean": float(np.mean(row.miou)),
                "miou_std": float(np.std(row.miou, ddof=1)) if len(row.miou) > 1 else None,
                "step_seconds": row.step_seconds._asdict(),
            }
            for row in rows
        ],
    }
    write_whole(output_dir / "ablation.json", json.dumps(result, indent=2) + "\n")
    write_whole(output_dir / "ablation.md", "\n".join(lines) + "\n")
    picture = output_dir / "ablation.png"
    save_scores(picture, {row.name: [100 * score for score in row.miou] for row in rows})
    print(f"written to {output_dir / 'ablation.json'}, ablation.md and {picture}")
