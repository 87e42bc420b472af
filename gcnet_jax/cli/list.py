"""Shows what there is: configs, data sets, published weights, or runs.

    gcnet list configs
    gcnet list data --data_dir=data
    gcnet list weights
    gcnet list runs --runs=runs

Published figures are mIoU in percent, at one scale and at six with mirror images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from absl import flags

from gcnet_jax.cli import command
from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.runs import CONFIG, is_run
from gcnet_jax.config import library_configs, load_config
from gcnet_jax.errors import InputError, printable
from gcnet_jax.files import as_path, read_json

_OPTIONS = flags.FlagValues()
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data", "configs, data: folder of prepared data sets", flag_values=_OPTIONS
)
_RUNS = flags.DEFINE_string("runs", "runs", "runs: folder of run folders", flag_values=_OPTIONS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_list, __name__, _OPTIONS, arguments)


def _list(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in _TABLES:
        expected = " or ".join(f"'{name}'" for name in _TABLES)
        raise InputError(f"{' '.join(arguments) or 'nothing'} given; expected {expected}")
    _TABLES[arguments[0]]()


def _configs() -> None:
    with importing():
        from gcnet_jax.data import is_prepared
        from gcnet_jax.interop import published_results
    published = {result.run: result for result in published_results()}
    rows = []
    for name, file in library_configs().items():
        config, result = load_config(file), published.get(file.stem)
        figures = f"{result.miou:.2f} / {result.miou_multi_scale:.2f}" if result else ""
        prepared = is_prepared(config.data.name, _DATA_DIR.value)
        rows.append((name, config.data.name, figures, _yes(prepared)))
    _show(("config", "data set", "published", "prepared"), rows)


def _data() -> None:
    with importing():
        from gcnet_jax.data import OFFICIAL_SETS, is_prepared, split_names, split_size
    folder = as_path(_DATA_DIR.value)
    own = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    rows = []
    for name in [*OFFICIAL_SETS, *sorted(own - OFFICIAL_SETS.keys())]:
        if is_prepared(name, folder):
            try:
                counts = [f"{s} {split_size(name, folder, s)}" for s in split_names(name, folder)]
                rows.append((name, "yes", ", ".join(counts)))
            except InputError as error:  # one that is damaged hides no other
                rows.append((name, "damaged", str(error)))
        elif name in OFFICIAL_SETS:
            rows.append((name, "", ""))
    _show(("data set", "prepared", "images"), rows)


def _weights() -> None:
    with importing():
        from gcnet_jax.interop import is_fetched, published_files
    rows = ((name, _yes(is_fetched(name))) for name in published_files())
    _show(("published weights", "fetched"), rows)


def _runs() -> None:
    with importing():
        from gcnet_jax.training import finished_steps, read_rows
    folder = as_path(_RUNS.value)
    if not folder.is_dir():
        raise InputError(f"--runs: there is no folder {folder}")
    found = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    rows = []
    for run in (path for path in found if is_run(str(path))):
        try:
            data = str(read_json(run / CONFIG)["config"]["data"]["name"])
        except (OSError, ValueError, KeyError, TypeError):
            data = f"({CONFIG} is damaged)"
        scores = [row["mIoU"] for row in read_rows(run) if "mIoU" in row]
        best = f"{100 * max(scores):.2f}" if scores else ""
        steps = finished_steps(run / "checkpoints")
        rows.append((run.name, data, str(max(steps, default=0)), best))
    if not rows:
        raise InputError(f"there is no run in {folder}: no folder with {CONFIG} and checkpoints")
    _show(("run", "data set", "steps", "best mIoU"), rows)


_TABLES: Mapping[str, Callable[[], None]] = MappingProxyType(
    {"configs": _configs, "data": _data, "weights": _weights, "runs": _runs}
)


def _yes(is_there: bool) -> str:
    return "yes" if is_there else ""


def _show(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    import rich.console
    import rich.table
    import rich.text

    table = rich.table.Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(rich.text.Text(printable(cell)) for cell in row))
    console = rich.console.Console()
    if not console.is_terminal:  # whoever reads it wants whole lines
        console = rich.console.Console(width=200)
    console.print(table)
