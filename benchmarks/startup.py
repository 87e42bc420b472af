"""How long `gcnet train` takes from the command to its first step, the first and second time."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from benchmarks.comparison import print_tables, table, times_as_fast, with_spread
from benchmarks.memory import device_name
from gcnet_jax.cli.timing import CONSOLE, median_and_spread
from gcnet_jax.errors import InputError

_FIRST, _SECOND = "first start", "second start"


def measure_startup(config_arguments: Sequence[str], *, rounds: int) -> dict[str, Any]:
    """Measures, prints and returns the seconds from the command to the end of the first step.

    Each round begins with an empty folder of compiled programs, which its two starts share; neither
    finds a checkpoint. All modules were read once before, so that the disk has little part in it.

    Args:
        config_arguments: `--config=FILE` and what overrides it. The data set must be prepared.
        rounds: how often both are started.

    Raises:
        InputError: training does not start.
    """
    seconds: dict[str, list[float]] = {_FIRST: [], _SECOND: []}
    with tempfile.TemporaryDirectory() as folder, CONSOLE.status("starting gcnet train"):
        subprocess.run(
            [sys.executable, "-c", "import gcnet_jax.tasks.segmentation.task"], check=True
        )
        for number in range(rounds):
            of_round = Path(folder) / str(number)
            for name, times in seconds.items():
                times.append(_start(config_arguments, of_round / name, of_round / "compiled"))
    rows = [
        {
            "way": name,
            "seconds_of_rounds": times,
            "step_seconds": median_and_spread(times)._asdict(),
            "times_as_fast_as": times_as_fast(seconds, name),
        }
        for name, times in seconds.items()
    ]
    speed = table(f"gcnet train, {rounds} rounds", ("to the first step, s", f"times {_FIRST}"))
    for row in rows:
        ratio = row["times_as_fast_as"].get(_FIRST)
        speed.add_row(
            row["way"], with_spread(row["step_seconds"]), with_spread(ratio) if ratio else ""
        )
    print_tables(speed)
    return {
        "device": device_name(),
        "arguments": list(config_arguments),
        "rounds": rounds,
        "rows": rows,
    }


def config_arguments(values: flags.FlagValues) -> list[str]:
    """What a command line says of the config, parsed: `--config=FILE` and each override."""
    flag = values["config"]
    overrides = config_flags.get_override_values(flag)
    return [
        f"--config={config_flags.get_config_filename(flag)}",
        *(f"--config.{key}={value}" for key, value in overrides.items()),
    ]


def _start(config_arguments: Sequence[str], workdir: Path, compiled: Path) -> float:
    """Starts training and ends it after the first step, whose message it returns the time of."""
    command = [
        sys.executable,
        "-c",
        "from gcnet_jax.cli import process, train; process.run_alone(train.main)",
    ]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(compiled)}
    # A file, because a pipe that nobody reads meanwhile fills up.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*command, *config_arguments, f"--workdir={workdir}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if match := re.match(r"first step after ([\d.]+) s", line):
                    return float(match[1])
        finally:
            process.kill()
            process.communicate()
        errors.seek(0)
        lines = errors.read().strip().splitlines() or ["it said nothing"]
    raise InputError(f"training does not start: {lines[-1]}")
