"""Shows in two minutes what a global context block does.

    gcnet quickstart
    gcnet quickstart --task=detection

Prepares a generated data set, trains a small network with the block and the same network without it
beside each other, evaluates both on images neither has seen, and prints their mIoU, or their box AP
where objects are detected (which takes some minutes). The output folder receives a page of pictures
`page.png`, which is there after the first evaluation and drawn anew at each, `results.json`, and
the runs themselves. Ctrl-C and SIGTERM stop both, and the same command goes on. --full trains each
network three times, and longer, for the README's table.
"""

from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing

_SEGMENTATION = "segmentation"
_OPTIONS = flags.FlagValues()
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "folder for data, runs and results (default: quickstart, quickstart_detection)",
    flag_values=_OPTIONS,
)
_FULL = flags.DEFINE_bool(
    "full", False, "train each network from three seeds", flag_values=_OPTIONS
)
_TASK = flags.DEFINE_enum(
    "task", _SEGMENTATION, [_SEGMENTATION, "detection"], "what is learnt", flag_values=_OPTIONS
)
_STEPS = flags.DEFINE_integer(
    "steps",
    None,
    "training steps (default: enough to see the difference, and with --full the configs')",
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
        from gcnet_jax.cli.with_and_without import compare_networks

        if _TASK.value == _SEGMENTATION:
            from gcnet_jax.cli.segmentation_page import DEMONSTRATION
        else:
            from gcnet_jax.cli.detection_page import DEMONSTRATION
    folder = "quickstart" if _TASK.value == _SEGMENTATION else f"quickstart_{_TASK.value}"
    output_dir = folder if _OUTPUT_DIR.value is None else _OUTPUT_DIR.value
    if _FULL.value:
        compare_networks(DEMONSTRATION, output_dir, seeds=_SEEDS, steps=_STEPS.value)
    else:
        steps = _STEPS.value or DEMONSTRATION.few_steps
        compare_networks(DEMONSTRATION, output_dir, seeds=1, steps=steps)
