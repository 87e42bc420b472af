"""Shows in two minutes what a global context block does.

    gcnet quickstart

Prepares the data set context_shapes, trains a small network with the block and the same network
without it beside each other, evaluates both on images neither has seen, and prints their mIoU. The
output folder receives a page of pictures `page.png`, which is there after the first evaluation and
drawn anew at each, `results.json`, and the runs themselves. Ctrl-C and SIGTERM stop both, and the
same command goes on. --full trains each network three times, and longer, for the README's table.
"""

from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing

_OPTIONS = flags.FlagValues()
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "quickstart", "folder for data, runs and results", flag_values=_OPTIONS
)
_FULL = flags.DEFINE_bool(
    "full", False, "train each network from three seeds", flag_values=_OPTIONS
)
_STEPS = flags.DEFINE_integer(
    "steps",
    None,
    "training steps (default: 400, and with --full the configs' 700)",
    lower_bound=1,
    flag_values=_OPTIONS,
)

_SEEDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_quickstart, __name__, _OPTIONS, arguments)


def _quickstart(arguments: list[str]) -> None:
    options.refuse(arguments)
    with importing():
        from gcnet_jax.cli.segmentation_page import DEMONSTRATION
        from gcnet_jax.cli.with_and_without import compare_networks
    if _FULL.value:
        compare_networks(DEMONSTRATION, _OUTPUT_DIR.value, seeds=_SEEDS, steps=_STEPS.value)
    else:
        steps = _STEPS.value or DEMONSTRATION.few_steps
        compare_networks(DEMONSTRATION, _OUTPUT_DIR.value, seeds=1, steps=steps)
