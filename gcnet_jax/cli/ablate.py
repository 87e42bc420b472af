"""Trains the variants of a network that differ in their context block, and tabulates them.

    gcnet ablate --config=ablation/context_shapes --output_dir=runs/ablation

For each variant: mean and spread over the seeds of the mIoU on the test split, parameters,
multiply-adds of one image of the crop's size, and the time of a training step. The output folder
receives `ablation.json`, the table as `ablation.md`, a picture `ablation.png`, and the runs
themselves. Runs that are done are not repeated; one that was interrupted goes on where it was.
"""

from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.errors import UsageError, did_you_mean

_OPTIONS = flags.FlagValues()
_CONFIG = options.define_config_flag(_OPTIONS)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "folder for runs and results", flag_values=_OPTIONS
)
_VARIANTS = flags.DEFINE_list(
    "variants",
    None,
    "some of them, such as none,gc,nl (default: all in gcnet_jax/analysis/variants.py)",
    flag_values=_OPTIONS,
)
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "how often to train each, from seeds 0, 1, ...", lower_bound=1, flag_values=_OPTIONS
)
_SPLIT = flags.DEFINE_string("split", "test", "split to compare on", flag_values=_OPTIONS)
_TIMING_STEPS = flags.DEFINE_integer(
    "timing_steps",
    20,
    "training steps of each variant to time",
    lower_bound=1,
    flag_values=_OPTIONS,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_ablate, __name__, _OPTIONS, arguments)


def _ablate(arguments: list[str]) -> None:
    options.refuse(arguments)
    config = options.checked_config(_CONFIG)
    output_dir = options.required(_OUTPUT_DIR.value, "--output_dir")
    if _VARIANTS.value == []:
        raise UsageError("--variants names none; see --help")
    with importing():
        from gcnet_jax.analysis import VARIANTS
        from gcnet_jax.cli.ablation_study import study_variants
    if unknown := [name for name in _VARIANTS.value or () if name not in VARIANTS]:
        raise UsageError(
            f"--variants: there is no variant {unknown[0]!r}{did_you_mean(unknown[0], VARIANTS)}; "
            f"expected some of {', '.join(VARIANTS)}"
        )
    study_variants(
        config,
        list(VARIANTS) if _VARIANTS.value is None else _VARIANTS.value,
        output_dir,
        seeds=_SEEDS.value,
        split=_SPLIT.value,
        timing_steps=_TIMING_STEPS.value,
    )
