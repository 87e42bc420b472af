"""Evaluates a trained network on one split of its data set.

    gcnet evaluate runs/shapes

Prints IoU, accuracy, precision, Dice and F-score of a segmentor by class and on average, top-1 and
top-5 of a classifier, and writes the same as JSON. Beside it lie a picture of some images, their
labels and predictions, and report_SPLIT.html: all of it to look at, with the confusion matrix and
the worst images, in one file for any browser.
Of a run's folder the best checkpoint is taken. --checkpoint takes any, which may be a .pth file of
OpenMMLab, or the published weights of a run:

    gcnet evaluate --config=gcnet_r50-d8_4xb2-40k_cityscapes-512x1024 \\
        --checkpoint=published
"""

import json
import shlex
import sys
from collections.abc import Sequence

from absl import flags
from etils import epath

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.runs import require_model
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
    "evaluation_SPLIT_tta.json); the report has its name, with .html",
    flag_values=_OPTIONS,
)

_PICTURES = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_evaluate, __name__, _OPTIONS, arguments)


def _evaluate(arguments: list[str]) -> None:
    require_model(_OPTIONS, arguments)
    options.refuse(arguments)
    config = options.checked_config(_CONFIG)
    with importing():
        import rich.console

        from gcnet_jax.parallel import is_first_process
        from gcnet_jax.tasks import task_of
        from gcnet_jax.training import EvaluationRun
    if _OUTPUT.value is not None:
        as_path(_OUTPUT.value)  # a path that cannot be is named before anything is read
    _PROCESSES.join()
    run = EvaluationRun(
        task_of(config), config, split=_SPLIT.value, multi_scale=_TTA.value, **_MODEL.values()
    )
    shown = run.shown_examples(_PICTURES)
    output, report = _outputs(run.split, shown.endings if shown is not None else ())
    evaluation = run.evaluate(shown.look if shown is not None else None)
    if not is_first_process():
        return  # all have the same figures; one shows and writes them
    try:
        write_whole(output, json.dumps(evaluation.to_plain(), indent=2) + "\n")
    finally:  # where nothing can be written, the figures are not lost
        rich.console.Console().print(evaluation.table())
    written = [output]
    if shown is not None:
        picture = output.with_suffix(".png")
        own = f"--config={_MODEL.workdir.value}/config.json"  # which the run's folder brings along
        again = shlex.join(["gcnet", "evaluate", *(x for x in sys.argv[1:] if x != own)])
        shown.write(evaluation, config, picture=picture, report=report, command=again)
        written += [output.with_name(output.stem + ending) for ending in shown.endings] + [report]
    files = "\n           ".join(map(str, written))  # a line each, as a terminal breaks none
    print(f"checkpoint {run.trained.checkpoint}\nwritten to {files}")


def _outputs(split: str, endings: Sequence[str]) -> tuple[epath.Path, epath.Path]:
    """The JSON file and the report, once it is clear that they can be written, and files of the
    JSON's name with some endings too."""
    name = f"{split}_tta" if _TTA.value else split
    if _OUTPUT.value is None:
        folder = as_path(_MODEL.workdir.value or ".")
        output, report = folder / f"evaluation_{name}.json", f"report_{name}.html"
    else:
        output = as_path(_OUTPUT.value)
        report = f"{output.stem}.html"
    # Fail before the work, not after it.
    output = options.output_file(
        output, key="inference", beside=[*(output.stem + x for x in endings), report]
    )
    return output, output.parent / report
