"""Shows what there is: configs, data sets, published weights, or runs.

    gcnet list configs
    gcnet list data --data_dir=data
    gcnet list weights
    gcnet list runs --runs=runs

Published figures are in percent: mIoU at one scale and at six with mirror images, or AP of boxes
and of masks; `fetched` says whether the weights are on this machine. Of a run the best metric is
that of its evaluations while it trained, and the network what its config describes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from gcnet_jax.cli import command
from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.runs import CONFIG, is_run
from gcnet_jax.config import find_config, library_configs
from gcnet_jax.errors import InputError, UsageError, printable
from gcnet_jax.files import as_path, read_json
from gcnet_jax.tasks.configs import from_plain, load_config

_OPTIONS = flags.FlagValues()
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data", "configs, data: folder of prepared data sets", flag_values=_OPTIONS
)
_RUNS = flags.DEFINE_string("runs", "runs", "runs: folder of run folders", flag_values=_OPTIONS)

_GAP = 2  # between columns


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_list, __name__, _OPTIONS, arguments)


def _list(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in _TABLES:
        expected = " or ".join(f"'{name}'" for name in _TABLES)
        raise UsageError(f"{' '.join(arguments) or 'nothing'} given; expected {expected}")
    _TABLES[arguments[0]]()


def _configs() -> None:
    with importing():
        from gcnet_jax.interop import is_fetched
    figures, rows = _published_figures(), []
    for name, file in library_configs().items():
        config = load_config(file)
        run, data = config.published_run, config.data
        rows.append(
            (
                name,
                config.task,
                data.name or "(your own)",
                figures.get(run, ""),
                _yes(bool(run) and is_fetched(run)),
                _prepared(config.task, data.name, {data.train_split, config.evaluation.split}),
            )
        )
    _show(("config", "task", "data set", "published", "fetched", "prepared"), rows)


def _data() -> None:
    with importing():
        from gcnet_jax.cli.data_sets import owner, preparables, split_sizes
        from gcnet_jax.data import is_prepared
    folder, tasks = as_path(_DATA_DIR.value), preparables()
    official = {name: task for task, of in tasks.items() for name in of.sets.official}
    own = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    rows = []
    for name in [*official, *sorted(own - official.keys())]:
        if is_prepared(name, folder):
            task = official.get(name) or owner(name, folder)
            try:
                sizes = split_sizes(name, folder, tasks[task or next(iter(tasks))])
                images = ", ".join(f"{split} {size}" for split, size in sizes.items())
                rows.append((name, task or "", "yes", images))
            except InputError as error:  # one that is damaged hides no other
                rows.append((name, task or "", "damaged", str(error)))
        elif name in official:
            rows.append((name, official[name], "", ""))
    _show(("data set", "task", "prepared", "images"), rows)


def _weights() -> None:
    with importing():
        from gcnet_jax.interop import is_fetched, published_files
    figures, rows = _published_figures(), []
    for name in published_files():
        whole = name in figures
        task = load_config(find_config(name)).task if whole else "(a backbone)"
        rows.append((name, task, figures.get(name, ""), _yes(is_fetched(name))))
    _show(("published weights", "task", "published", "fetched"), rows)


def _runs() -> None:
    with importing():
        from gcnet_jax.tasks import task_of
        from gcnet_jax.training import finished_steps, read_rows
    folder = as_path(_RUNS.value)
    if not folder.is_dir():
        raise InputError(f"--runs: there is no folder {folder}")
    found = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    rows = []
    for run in (path for path in found if is_run(str(path))):
        steps = max(finished_steps(run / "checkpoints"), default=0)
        try:
            config = from_plain(read_json(run / CONFIG)["config"])
            if not config.data.name:  # which no run lacks
                raise ValueError("no data set is named")
            described = (config.task, config.data.name, _network(config.model))
            done = f"{steps} of {config.training.total_steps}"
            best = _best(read_rows(run), task_of(config).best_metric)
        except (OSError, ValueError, LookupError, TypeError):
            described, done, best = ("", f"({CONFIG} is damaged)", ""), str(steps), ""
        rows.append((run.name, *described, done, best))
    if not rows:
        raise InputError(f"there is no run in {folder}: no folder with {CONFIG} and checkpoints")
    _show(("run", "task", "data set", "network", "steps", "best"), rows)


def _published_figures() -> dict[str, str]:
    from gcnet_jax.tasks.detection.published_results import published_detectors
    from gcnet_jax.tasks.segmentation.published_results import published_results

    of_pixels = {x.run: f"{x.miou:.2f} / {x.miou_multi_scale:.2f}" for x in published_results()}
    return of_pixels | {x.run: f"{x.box_ap} / {x.mask_ap}" for x in published_detectors()}


def _prepared(task: str, name: str, splits: set[str]) -> str:
    """Whether some splits of a data set are prepared; or those of them that are."""
    from gcnet_jax.cli.data_sets import preparables
    from gcnet_jax.data import is_prepared

    if not is_prepared(name, _DATA_DIR.value):
        return ""
    try:
        there = splits & preparables()[task].sets.contents(name, _DATA_DIR.value).splits.keys()
    except InputError:
        return "damaged"
    return "yes" if there == splits else f"{', '.join(sorted(there)) or 'other splits'} only"


def _network(model: ConfigDict) -> str:
    """Such as `resnet18-d16 + global_context`: the backbone, and the blocks beside or in it."""
    backbone = model.backbone
    name = f"resnet{backbone.depth}"
    if backbone.groups > 1:
        name = f"resnext{backbone.depth}-{backbone.groups}x{backbone.base_width}d"
    blocks = [backbone.context.block and f"{backbone.context.block} in the backbone"]
    if "decode_head" in model:
        blocks.append(model.decode_head.context.block)
    return " + ".join([f"{name}-d{backbone.output_stride}", *filter(None, blocks)])


def _best(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    scores = [row for row in rows if metric in row]
    if not scores:
        return ""
    best = max(scores, key=lambda row: row[metric])
    return f"{metric} {100 * best[metric]:.2f} ({best['split']}, step {best['step']})"


_TABLES: Mapping[str, Callable[[], None]] = MappingProxyType(
    {"configs": _configs, "data": _data, "weights": _weights, "runs": _runs}
)


def _yes(is_there: bool) -> str:
    return "yes" if is_there else ""


def _show(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table; on a terminal that it is too wide for, some lines for each row instead."""
    import rich.cells
    import rich.console
    import rich.padding
    import rich.text

    console = rich.console.Console()
    lines = [headings, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(rich.cells.cell_len, column)) for column in zip(*lines, strict=True)]
    if console.is_terminal and sum(widths) + _GAP * (len(widths) - 1) > console.width:
        for name, *cells in lines[1:]:
            console.print(rich.text.Text(name, style="bold"))
            known = [f"{x}: {cell}" for x, cell in zip(headings[1:], cells, strict=True) if cell]
            if known:
                about = rich.text.Text("; ".join(known))
                console.print(rich.padding.Padding(about, (0, 0, 0, 2 * _GAP), expand=False))
        return
    for number, line in enumerate(lines):
        cells = map(rich.cells.set_cell_size, line, (width + _GAP for width in widths))
        text = rich.text.Text("".join(cells).rstrip(), style="" if number else "bold")
        console.print(text, soft_wrap=True)
