"""Shows in a few minutes what a global context block does.

    gcnet quickstart

Prepares the data set context_shapes, trains a small network with the block and the same network
without it, evaluates both on images neither has seen, and prints their mIoU side by side. The
output folder receives `results.json`, a page of pictures `page.png`, and the runs themselves.
"""

from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing

_OPTIONS = flags.FlagValues()
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "quickstart", "folder for data, runs and results", flag_values=_OPTIONS
)
_SEEDS = flags.DEFINE_integer(
    "seeds",
    3,
    "how often to train each network, from seeds 0, 1, ...",
    lower_bound=1,
    flag_values=_OPTIONS,
)
_STEPS = flags.DEFINE_integer(
    "steps", None, "training steps (default: the configs')", lower_bound=1, flag_values=_OPTIONS
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_quickstart, __name__, _OPTIONS, arguments)


def _quickstart(arguments: list[str]) -> None:
    options.refuse(arguments)
    with importing():
        from gcnet_jax.cli.with_and_without import compare_networks
    compare_networks(_OUTPUT_DIR.value, seeds=_SEEDS.value, steps=_STEPS.value)
