"""Converts a checkpoint: from OpenMMLab or torchvision to here, and back.

    gcnet convert_checkpoint \\
        --config=gcnet_r50-d8_4xb2-40k_cityscapes-512x1024 \\
        --source=model.pth --output=converted
    gcnet convert_checkpoint --source=converted --output=model.pth \\
        --to=openmmlab

The source is what --checkpoint of the other commands takes: a checkpoint's folder, a .pth file, or
'published'. Checkpoints bring their config, and files that were published need none. The output is
a checkpoint's folder; with --to=openmmlab a file that mmsegmentation loads, or mmpretrain if it is
a classifier's, which --to=torchvision writes by torchvision's names. Class names and colours go
along.
"""

from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path
from gcnet_jax.tasks import task_of

_OPTIONS = flags.FlagValues()
_CONFIG = options.define_config_flag(_OPTIONS)
_SOURCE = flags.DEFINE_string("source", None, "what to convert", flag_values=_OPTIONS)
_OUTPUT = flags.DEFINE_string(
    "output", None, "folder or, with --to=openmmlab, file; must be new", flag_values=_OPTIONS
)
_TO = flags.DEFINE_enum(
    "to", "orbax", ["orbax", "openmmlab", "torchvision"], "what to write", flag_values=_OPTIONS
)
_ALLOW_PARTIAL = options.define_allow_partial_flag(_OPTIONS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_convert, __name__, _OPTIONS, arguments)


def _convert(arguments: list[str]) -> None:
    options.refuse(arguments)
    config = options.checked_config(_CONFIG)
    source = options.required(_SOURCE.value, "--source")
    output = as_path(options.required(_OUTPUT.value, "--output"))
    if output.exists():
        raise InputError(f"--output: {output} is there already; give a new name")
    with importing():
        from gcnet_jax.interop import write_torch_checkpoint
        from gcnet_jax.training import load_pretrained, save_model
    task = task_of(config)
    pretrained = load_pretrained(task, config, source, allow_partial=_ALLOW_PARTIAL.value)
    if pretrained.left:
        print(f"left as initialised or not taken: {pretrained.left}")
    state_dict = task.foreign.export_state_dict(pretrained.model)
    output.parent.mkdir(parents=True, exist_ok=True)
    if _TO.value == "orbax":
        save_model(output, pretrained.model, config, pretrained.meaning)
    else:
        if _TO.value == "torchvision":
            if task.foreign.to_torchvision is None:
                raise InputError(
                    f"torchvision has no networks for {config.task} of this kind; write them with "
                    "--to=openmmlab"
                )
            state_dict = task.foreign.to_torchvision(state_dict)
        write_torch_checkpoint(output, state_dict, task.foreign.meaning_to_meta(pretrained.meaning))
    numbers = sum(array.size for array in state_dict.values())
    print(f"{len(state_dict)} arrays, {numbers:,} numbers, from {pretrained.source}")
    print(pretrained.meaning.in_words())
    print(f"written to {output}")
