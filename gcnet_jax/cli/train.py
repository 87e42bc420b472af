"""Trains a network.

    gcnet train --config=context_shapes/gcnet --workdir=runs/shapes

The workdir receives `config.json`, `checkpoints/`, `metrics.jsonl`, TensorBoard events, `pictures/`
and `curves.png`. The same command started again resumes from the newest whole checkpoint and ends
with the same parameters as a run that was never interrupted. Any leaf of the config can be set on
the command line:

    --config.training.batch_size=16 --config.optimizer.learning_rate=0.02

--help_config shows them all; --print_config prints the config that would be run, in the form that
--config reads.

On several hosts the command is started once on each (docs/scaling.md). SIGTERM or Ctrl-C end it
with exit status 75 once everything is saved; a second Ctrl-C ends it at once.
"""

import json
import shlex
import sys
from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command, options, process
from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.runs import config_options
from gcnet_jax.config import to_plain
from gcnet_jax.tasks import TASKS

_OPTIONS = flags.FlagValues()
_CONFIG = options.define_config_flag(_OPTIONS)
_PROCESSES = options.define_process_flags(_OPTIONS)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder of the run; created if missing", flag_values=_OPTIONS
)
_PRINT_CONFIG = flags.DEFINE_bool(
    "print_config", False, "print the config as JSON and end", flag_values=_OPTIONS
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_train, __name__, _OPTIONS, arguments)


def _train(arguments: list[str]) -> None:
    options.refuse(arguments)
    config = options.checked_config(_CONFIG)
    if _PRINT_CONFIG.value:
        print(json.dumps({"config": to_plain(config)}, indent=2))
        return
    workdir = options.run_folder(_WORKDIR.value)
    with importing():
        from gcnet_jax.parallel import is_first_process
        from gcnet_jax.tasks.runs import train_from_config
        from gcnet_jax.training.output import Output
    _PROCESSES.join(listens=True)
    train_from_config(config, workdir, started=process.started())
    if is_first_process():
        run = shlex.quote(workdir)
        if config.task not in TASKS:  # whose code no folder of a run may name
            run = shlex.join([workdir, *config_options(sys.argv[1:])])
        following = (
            f"next: gcnet evaluate {run}\n"
            f"      gcnet predict {run} photo.jpg --output_dir=predictions"
        )
        print(following, file=Output(lambda: None), flush=True)  # which perhaps nobody reads
