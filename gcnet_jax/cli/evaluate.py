"""Evaluates a trained segmentor on one split of its data set.

    gcnet evaluate --config=configs/context_shapes/gcnet.py --workdir=runs/shapes

Prints IoU, accuracy, precision, Dice and F-score by class and on average, and writes the same as
JSON, with a picture of some images, their labels and predictions beside it. With --workdir the best
checkpoint of the run is taken, with --checkpoint the given one, which may be a .pth file of
OpenMMLab or the published weights of the run:

    gcnet evaluate --config=configs/gcnet/RUN.py --checkpoint=published
"""

import json
from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.runs import refuse_positional
from gcnet_jax.files import as_path, write_whole

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
    with importing():
        import rich.console

        from gcnet_jax.parallel import is_first_process
        from gcnet_jax.tasks.segmentation.evaluation_run import EvaluationRun
        from gcnet_jax.tasks.segmentation.pictures import save_examples
    _PROCESSES.join()
    run = EvaluationRun(config, split=_SPLIT.value, multi_scale=_TTA.value, **_MODEL.values())
    name = f"evaluation_{run.split}_tta.json" if _TTA.value else f"evaluation_{run.split}.json"
    output = as_path(_OUTPUT.value or as_path(_MODEL.workdir.value or ".") / name)
    output = options.output_file(output, key="confusion")  # fail before the work, not after it
    evaluation = run.evaluate()
    if not is_first_process():
        return  # all have the same figures; one shows and writes them
    try:
        write_whole(output, json.dumps(evaluation.to_plain(), indent=2) + "\n")
    finally:  # where nothing can be written, the figures are not lost
        rich.console.Console().print(evaluation.table())
    picture = output.with_suffix(".png")
    save_examples(picture, run.examples(_PICTURES), evaluation.classes)
    print(f"checkpoint {evaluation.checkpoint}\nwritten to {output} and {picture}")
