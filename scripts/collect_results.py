"""Writes what own runs reached beside what was published, into the table of docs/results.md.

    gcnet train --config=RUN --workdir=runs/RUN
    gcnet evaluate --config=RUN --workdir=runs/RUN
    gcnet evaluate --config=RUN --workdir=runs/RUN --tta
    python scripts/collect_results.py --runs=runs

Of each published run the folder of its name below --runs is looked at, for the files that
`gcnet evaluate` leaves there. Runs that are not there, or not evaluated, stay empty.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags
from etils import epath

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.config import differences
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path, write_whole
from gcnet_jax.tasks.configs import load_config

if TYPE_CHECKING:
    from gcnet_jax.tasks.segmentation.published_results import PublishedResult

_OPTIONS = flags.FlagValues()
_RUNS = flags.DEFINE_string(
    "runs", "runs", "folder of the run folders, each named as its config", flag_values=_OPTIONS
)
_CONFIGS = flags.DEFINE_string(
    "configs", "configs/gcnet", "folder of the published runs' configs", flag_values=_OPTIONS
)
_PAGE = flags.DEFINE_string(
    "page", "docs/results.md", "the page whose table is written anew", flag_values=_OPTIONS
)

_BEGIN, _END = "<!-- published runs -->", "<!-- end of published runs -->"
_DATASETS = {
    "Cityscapes": ("cityscapes", 500),
    "ADE20K": ("ade20k", 2000),
    "Pascal VOC 2012 + Aug": ("voc12aug", 1449),
}
"""Our name of a data set by the published one, and the number of images to evaluate on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_collect, __name__, _OPTIONS, arguments)


def _collect(arguments: list[str]) -> None:
    with importing():
        from gcnet_jax.tasks.segmentation.published_results import published_results
    options.refuse(arguments)
    runs, page = as_path(_RUNS.value), as_path(_PAGE.value)
    if not runs.is_dir():
        raise InputError(f"--runs: there is no folder {runs}")
    if not page.is_file():
        raise InputError(f"--page: there is no file {page}")
    text = page.read_text()
    if text.count(_BEGIN) != 1 or text.count(_END) != 1 or text.index(_END) < text.index(_BEGIN):
        raise InputError(f"{page} has no place for the table: a line {_BEGIN} and later {_END}")
    results = published_results()
    ours = [
        [_miou(runs / result.run, result, multi_scale=multi) for multi in (False, True)]
        for result in results
    ]
    found = sum(miou is not None for of_run in ours for miou in of_run)
    if not found:
        raise InputError(
            f"no evaluation of a published run is below {runs}, so {page} stays as it is; expected "
            f"such as {runs / results[0].run / 'evaluation_val.json'}"
        )
    before, after = text.split(_BEGIN)[0], text.split(_END)[1]
    write_whole(page, f"{before}{_BEGIN}\n{_table(results, ours)}\n{_END}{after}")
    print(f"{found} of {2 * len(ours)} figures found below {runs}; written to {page}")


def _miou(folder: epath.Path, result: "PublishedResult", *, multi_scale: bool) -> float | None:
    """In percent, if the run was evaluated that way.

    Raises:
        InputError: there is an evaluation, but it is damaged, of another split than this run's
            validation split, or with other settings.
    """
    from gcnet_jax.tasks.segmentation.split_evaluation import inference_settings
    from gcnet_jax.training import evaluation_settings

    file = folder / ("evaluation_val_tta.json" if multi_scale else "evaluation_val.json")
    if not file.exists():
        return None
    name, images = _DATASETS[result.dataset]
    config = load_config(f"{_CONFIGS.value}/{result.run}.py")
    expected = {
        "dataset": name,
        "split": "val",
        "images": images,
        "settings": evaluation_settings(
            config, inference_settings(config, multi_scale=multi_scale)
        ),
    }
    try:
        evaluation: dict[str, Any] = json.loads(file.read_text())
        found = {key: evaluation[key] for key in expected}
        # Which earlier versions did not say.
        found["settings"] = {"dtype": config.model.dtype, **found["settings"]}
        miou = 100 * float(evaluation["summary"]["mIoU"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no whole evaluation as `gcnet evaluate` writes it") from error
    if found != expected:
        raise InputError(
            f"{file} is no evaluation of this run: {'; '.join(differences(expected, found))} "
            "(expected -> found)"
        )
    return miou


def _table(results: "Sequence[PublishedResult]", ours: Sequence[Sequence[float | None]]) -> str:
    rows = [
        "| run | published mIoU | ours | published, 6 scales + flips | ours |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for result, (single, multiple) in zip(results, ours, strict=True):
        cells = (
            f"[{result.run}](../configs/gcnet/{result.run}.py)",
            f"{result.miou:.2f}",
            _cell(single),
            f"{result.miou_multi_scale:.2f}",
            _cell(multiple),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(miou: float | None) -> str:
    return "" if miou is None else f"{miou:.2f}"


if __name__ == "__main__":
    with importing():
        from gcnet_jax.cli.process import run_alone
    run_alone(main)
