"""Evaluates a trained segmentor on one split of its data set.

    gcnet evaluate --config=configs/context_shapes/gcnet.py --workdir=runs/shapes

Prints IoU, accuracy, precision, Dice and F-score by class and on average, and writes the same as
JSON, with a picture of some images, their labels and predictions beside it. With --workdir the best
checkpoint of the run is taken, with --checkpoint the given one, which may be a .pth file of
OpenMMLab or the published weights of the run:

    gcnet evaluate --config=configs/gcnet/RUN.py --checkpoint=published
"""

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import rich.console
import rich.progress
from absl import flags
from jax.sharding import Mesh
from jaxtyping import Int
from ml_collections import ConfigDict

from gcnet_jax.cli import command, options
from gcnet_jax.cli.runs import refuse_positional
from gcnet_jax.data import (
    EvaluationBatch,
    check_labels,
    dataset_classes,
    decode,
    evaluation_batches,
    open_split,
    split_size,
)
from gcnet_jax.errors import InputError
from gcnet_jax.evaluation import (
    colorize,
    create_evaluator,
    label_overlay,
    metrics_from_confusion,
)
from gcnet_jax.files import as_path, write_whole
from gcnet_jax.parallel import (
    check_batch_size,
    create_mesh,
    input_shard,
    is_first_process,
    keep_freed_memory,
)
from gcnet_jax.tasks.segmentation.pictures import Picture, save_examples
from gcnet_jax.tasks.segmentation.trained_model import (
    TrainedModel,
    inference_settings,
    lack_of_memory_named,
    load_trained_model,
)

_OPTIONS = flags.FlagValues()
_CONFIG = options.define_config_flag(_OPTIONS)
_PROCESSES = options.define_process_flags(_OPTIONS)
_MODEL = options.define_checkpoint_flags(_OPTIONS)
_SPLIT = flags.DEFINE_string(
    "split", None, "split to evaluate on (default: the config's)", flag_values=_OPTIONS
)
_TTA = flags.DEFINE_bool(
    "tta", False, "average over evaluation.scales, each with its mirror image", flag_values=_OPTIONS
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "JSON file (default: evaluation_SPLIT.json in the workdir, or else right here; with --tta "
    "evaluation_SPLIT_tta.json)",
    flag_values=_OPTIONS,
)

_PICTURES = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_evaluate, __name__, _OPTIONS, arguments)


def _evaluate(arguments: list[str]) -> None:
    refuse_positional(_OPTIONS, arguments)
    config = options.checked_config(_CONFIG)
    _PROCESSES.join()
    split = _SPLIT.value or config.evaluation.split
    batch_size = config.evaluation.batch_size
    name = f"evaluation_{split}_tta.json" if _TTA.value else f"evaluation_{split}.json"
    output = as_path(_OUTPUT.value or as_path(_MODEL.workdir.value or ".") / name)
    mesh = create_mesh(spatial=config.parallel.spatial)
    keep_freed_memory()
    check_batch_size(batch_size, mesh, key="evaluation.batch_size")
    images = split_size(config.data.name, config.data.data_dir, split)
    check_labels(config.data.name, config.data.data_dir, split)
    trained = load_trained_model(config, mesh, **_MODEL.values())
    _check_classes(trained, config)

    output = options.output_file(output, key="confusion")  # fail before the work, not after it
    confusion = _confusion(config, split, images, trained, mesh)
    if not confusion.any():
        raise InputError(
            f"no pixel of split '{split}' of {config.data.name} has a label: there is nothing to "
            "evaluate, as in the test split of Cityscapes"
        )
    metrics = metrics_from_confusion(confusion)

    names = trained.classes.names
    inference = {"whole": "whole images", "slide": "sliding windows"}[config.evaluation.mode]
    inference += f", scales {config.evaluation.scales} and flips" if _TTA.value else ""
    title = f"{config.data.name} {split}, {images} images, {inference}"
    result = {
        "dataset": config.data.name,
        "split": split,
        "images": images,
        "inference": inference,
        "settings": inference_settings(config, multi_scale=_TTA.value),
        "checkpoint": str(trained.checkpoint),
        **metrics.to_plain(names),
        "confusion": confusion.tolist(),
    }
    if not is_first_process():
        return  # all have the same figures; one shows and writes them
    try:
        write_whole(output, json.dumps(result, indent=2) + "\n")
    finally:  # where nothing can be written, the figures are not lost
        rich.console.Console().print(metrics.table(names, title))
    picture = output.with_suffix(".png")
    save_examples(picture, _examples(config, split, trained), trained.classes)
    print(f"checkpoint {trained.checkpoint}\nwritten to {output} and {picture}")


def _check_classes(trained: TrainedModel, config: ConfigDict) -> None:
    classes = dataset_classes(config.data.name, config.data.data_dir)
    if trained.classes.names != classes.names:
        raise InputError(
            f"{trained.checkpoint} holds a model of other classes "
            f"({', '.join(trained.classes.names)}) "
            f"than data set {config.data.name} ({', '.join(classes.names)})"
        )


def _confusion(
    config: ConfigDict, split: str, images: int, trained: TrainedModel, mesh: Mesh
) -> Int[np.ndarray, "classes classes"]:
    """Pixel counts by (label, prediction) over the split, with a progress bar."""
    shard, console = input_shard(mesh), rich.console.Console(stderr=True)
    with rich.progress.Progress(console=console, disable=not is_first_process()) as progress:
        task = progress.add_task("evaluating", total=-(-images // shard.count))

        def counted(batches: Iterable[EvaluationBatch]) -> Iterator[EvaluationBatch]:
            for batch in batches:
                yield batch
                progress.advance(task, int((batch["label_size"][:, 0] > 0).sum()))

        evaluate = create_evaluator(
            trained.graphdef,
            trained.classes.num_classes,
            config.evaluation,
            mesh,
            mirrored_too=_TTA.value,
        )
        batches = evaluation_batches(
            config,
            split,
            multi_scale=_TTA.value,
            shard_index=shard.index,
            shard_count=shard.count,
        )
        with lack_of_memory_named():
            return evaluate(trained.variables, counted(batches))


def _examples(config: ConfigDict, split: str, trained: TrainedModel) -> list[dict[str, Picture]]:
    """Images spread over the split, as pictures by title."""
    records = open_split(config.data.name, config.data.data_dir, split)
    count = min(_PICTURES, len(records))
    samples = [decode(records[i * len(records) // count]) for i in range(count)]
    palette = trained.classes.palette
    scores_of = trained.predictor(config, multi_scale=_TTA.value)
    examples = []
    for sample in samples:
        prediction = scores_of(sample["image"]).argmax(-1).astype(np.uint8)
        examples.append(
            {
                "image": sample["image"],
                "label": colorize(sample["label"], palette),
                "prediction": colorize(prediction, palette),
                "prediction over the image": label_overlay(sample["image"], prediction, palette),
            }
        )
    return examples
