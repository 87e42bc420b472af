"""Lets training runs meet faults, and checks that nothing is lost.

    python -m tests.faults --output=runs/soak
    python -m tests.faults --output=runs/soak --seed=1 --faults=40 --report=docs/reliability.md
    python -m tests.faults --output=runs/soak_classifier --task=classification --faults=12

Starts `scripts/train.py` on a generated data set again and again, in one process and in two, and
harms it: kills it, also while it saves; tells it to stop; damages files of its newest checkpoint;
fills its disk; kills a data worker; corrupts records; makes a number not a number. Every run must
end bitwise like one that was never disturbed, or with one clear error; no good checkpoint may ever
be lost. What does not is a failure: its folder is kept below `series/` of the output folder, and
the exit status is 1.

All faults are drawn from the seed. `records.jsonl` gets one JSON object a start; the same command
goes on after an interruption. Needs Linux; a full disk also needs the right to mount a tmpfs.
"""

import concurrent.futures
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.errors import InputError
from gcnet_jax.tasks import TASKS

if TYPE_CHECKING:
    from tests.faults.plan import Series
    from tests.faults.series import Setting

_ROOT = str(Path(__file__).parents[2])
_OPTIONS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
    "output", None, "folder for data, runs and records", flag_values=_OPTIONS
)
_TASK = flags.DEFINE_enum(
    "task", "segmentation", TASKS, "what the runs learn", flag_values=_OPTIONS
)
_SEED = flags.DEFINE_integer("seed", 0, "of all that is drawn", flag_values=_OPTIONS)
_FAULTS = flags.DEFINE_integer("faults", 200, "how many", lower_bound=1, flag_values=_OPTIONS)
_SIDE_BY_SIDE = flags.DEFINE_integer(
    "side_by_side", 2, "runs at a time", lower_bound=1, flag_values=_OPTIONS
)
_REPORT = flags.DEFINE_string(
    "report", None, "page to write the counts into, between its marks", flag_values=_OPTIONS
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_run_campaign, __name__, _OPTIONS, arguments)


def _run_campaign(arguments: list[str]) -> None:
    options.refuse(arguments)
    with importing():
        from gcnet_jax.cli.data_sets import preparables
        from tests.faults.injection import small_disks_possible
        from tests.faults.plan import draw_plan, without
        from tests.faults.report import summary, write_page
        from tests.faults.series import Setting
        from tests.faults.undisturbed_run import DATA_SETS, reference_run
    output = Path(options.output_folder(_OUTPUT.value, "--output")).resolve()
    plan = draw_plan(_SEED.value, _FAULTS.value)
    if not small_disks_possible(output / "disk"):
        print("no tmpfs can be mounted here: faults of the kind 'disk full' are left out")
        plan = without(plan, "disk full")
    task, data_dir = _TASK.value, output / "data"
    preparables()[task].prepare(DATA_SETS[task], data_dir)
    environment = _environment(output)
    references = {}
    for processes in sorted({series.processes for series in plan}):
        print(f"two undisturbed runs in {processes} process(es)", flush=True)
        folder = output / f"undisturbed_{processes}"
        references[processes] = reference_run(task, folder, data_dir, processes, environment)

    log = Log(output / "records.jsonl", _drawn())
    setting = Setting(task, output / "series", data_dir, environment, references)
    todo = [series for series in plan if series.number not in log.done]
    print(f"{len(plan)} series of faults, {len(plan) - len(todo)} of them done", flush=True)
    with concurrent.futures.ThreadPoolExecutor(_SIDE_BY_SIDE.value) as pool:
        futures = [pool.submit(_one_series, series, setting, log) for series in todo]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            setting.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(summary(log.records))
    if _REPORT.value is not None:
        write_page(Path(_REPORT.value), log.records, _SEED.value)
    if failures := [record for record in log.records if record["problems"]]:
        raise InputError(
            f"{len(failures)} run(s) ended otherwise than they should: "
            f"{failures[0]['problems'][0]}; see {output / 'series'}"
        )


def _drawn() -> dict[str, Any]:
    """What the plan and the runs follow from."""
    return {"task": _TASK.value, "seed": _SEED.value, "faults": _FAULTS.value}


def _one_series(series: "Series", setting: "Setting", log: "Log") -> None:
    from tests.faults.series import SeriesOnItsWay

    SeriesOnItsWay(series, setting, log.write).run()


def _environment(output: Path) -> dict[str, str]:
    """One device a process, programs compiled once for all runs, and `tests` to be imported."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH")))),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "JAX_COMPILATION_CACHE_DIR": str(output / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "COLUMNS": "120",
    }


class Log:
    """The records of a campaign, in a file that the next start of the command goes on with.

    Args:
        path: of the file.
        campaign: what the plan follows from; a file of another campaign is refused.
    """

    def __init__(self, path: Path, campaign: dict[str, Any]):
        self._path = path
        self._lock = threading.Lock()
        rows: list[dict[str, Any]] = []
        if path.exists():
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            if rows and rows[0] != campaign:
                raise InputError(f"{path} is of another campaign, {rows[0]}; use another --output")
        over = {row["series"] for row in rows[1:] if row.get("last") or row["problems"]}
        self.done = over
        # A series that was interrupted is done anew.
        self.records = [row for row in rows[1:] if row["series"] in over]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in (campaign, *self.records)))

    def write(self, record: dict[str, Any]) -> None:
        """Adds and shows the record of one start."""
        with self._lock:
            self.records.append(record)
            with self._path.open("a") as file:
                file.write(json.dumps(record) + "\n")
            done = sum(len(r["faults"]) for r in self.records)
            kinds = " + ".join(fault["kind"] for fault in record["faults"]) or "no fault"
            said = "; ".join(f"FAILURE: {problem}" for problem in record["problems"])
            ends = said or f"{', '.join(record['ends'])}, step {record['saved']} saved"
            print(
                f"{done:4} faults  series {record['series']}, start {record['start']}: "
                f"{kinds}: {ends}",
                flush=True,
            )
