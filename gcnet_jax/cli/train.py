"""Trains a segmentor.

    python scripts/train.py --config=configs/context_shapes/gcnet.py --workdir=runs/shapes

The workdir receives `config.json`, `checkpoints/`, `metrics.jsonl`, TensorBoard events and, in the
end, `curves.png`. The same command started again resumes from the newest whole checkpoint and ends
with the same parameters as a run that was never interrupted. Any leaf of the config can be set on
the command line:

    --config.training.batch_size=16 --config.optimizer.learning_rate=0.02

On several hosts the command is started once on each (docs/scaling.md). SIGTERM or Ctrl-C end it
with exit status 75 once everything is saved; a second Ctrl-C ends it at once.
"""

from absl import flags

from gcnet_jax.cli import command
from gcnet_jax.cli.training_run import train_from_config

_CONFIG = command.define_config_flag()
_PROCESSES = command.define_process_flags()
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run; created if missing")


def main() -> None:
    """Entry point of `scripts/train.py`."""

    def work(arguments: list[str]) -> None:
        command.refuse(arguments)
        config = command.checked_config(_CONFIG)
        workdir = command.required(_WORKDIR.value, "--workdir")
        _PROCESSES.join(listens=True)
        train_from_config(config, workdir, started=command.started())

    command.run(work, __name__)
