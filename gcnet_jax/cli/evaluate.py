"""Evaluates a trained segmentor on one split of its data set.

    python scripts/evaluate.py --config=configs/context_shapes/gcnet.py --workdir=runs/shapes

Prints IoU, accuracy, precision, Dice and F-score by class and on average, and writes the same as
JSON. With --workdir the best checkpoint of the run is taken, with --checkpoint the given one.
"""

import json
from collections.abc import Iterable, Iterator

import rich.console
import rich.progress
from absl import flags
from etils import epath

from gcnet_jax.cli import command
from gcnet_jax.cli.inference import load_trained_model
from gcnet_jax.data import Batch, evaluation_batches, split_size
from gcnet_jax.evaluation import create_evaluator, metrics_from_confusion
from gcnet_jax.parallel import check_batch_size, create_mesh

_CONFIG = command.define_config_flag()
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of a run; its best checkpoint is evaluated")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "folder of one checkpoint, instead")
_SPLIT = flags.DEFINE_string("split", None, "split to evaluate on (default: the config's)")
_OUTPUT = flags.DEFINE_string(
    "output", None, "JSON file (default: evaluation_SPLIT.json in the workdir or beside CHECKPOINT)"
)


def main() -> None:
    """Entry point of `scripts/evaluate.py`."""
    command.run(_evaluate, __name__)


def _evaluate(arguments: list[str]) -> None:
    command.refuse(arguments)
    config = command.checked_config(_CONFIG)
    split = _SPLIT.value or config.evaluation.split
    batch_size = config.evaluation.batch_size
    mesh = create_mesh()
    check_batch_size(batch_size, mesh, key="evaluation.batch_size")
    images = split_size(config.data.name, config.data.data_dir, split)
    trained = load_trained_model(config, mesh, workdir=_WORKDIR.value, checkpoint=_CHECKPOINT.value)

    evaluate = create_evaluator(trained.graphdef, trained.classes.num_classes, mesh)
    batches = evaluation_batches(config.data, split, batch_size=batch_size)
    confusion = evaluate(trained.variables, _with_progress(batches, images))
    metrics = metrics_from_confusion(confusion)

    names = trained.classes.names
    title = f"{config.data.name} {split}, {images} images, whole-image inference"
    rich.console.Console().print(metrics.table(names, title))
    output = epath.Path(_OUTPUT.value or _default_output(split, trained.checkpoint))
    result = {
        "dataset": config.data.name,
        "split": split,
        "images": images,
        "checkpoint": str(trained.checkpoint),
        **metrics.to_plain(names),
        "confusion": confusion.tolist(),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"checkpoint {trained.checkpoint}\nwritten to {output}")


def _default_output(split: str, checkpoint: epath.Path) -> epath.Path:
    folder = epath.Path(_WORKDIR.value) if _WORKDIR.value else checkpoint.parent
    return folder / f"evaluation_{split}.json"


def _with_progress(batches: Iterable[Batch], images: int) -> Iterator[Batch]:
    with rich.progress.Progress(console=rich.console.Console(stderr=True)) as progress:
        task = progress.add_task("evaluating", total=images)
        for batch in batches:
            yield batch
            progress.advance(task, int((batch["size"][:, 0] > 0).sum()))
