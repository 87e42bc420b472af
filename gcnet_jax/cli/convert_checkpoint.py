"""Converts a checkpoint: from OpenMMLab to here, and from here to OpenMMLab.

    python scripts/convert_checkpoint.py --config=configs/gcnet/RUN.py \\
        --source=model.pth --output=converted
    python scripts/convert_checkpoint.py --config=configs/gcnet/RUN.py \\
        --source=converted --output=model.pth --to=openmmlab

The source is what --checkpoint of the other commands takes: a checkpoint's folder, a .pth file, or
'published'. The output is a checkpoint's folder or, with --to=openmmlab, a file that mmsegmentation
loads. Class names and colours go along. Needs PyTorch for reading and writing .pth files.
"""

from absl import flags

from gcnet_jax.cli import command
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path
from gcnet_jax.interop import export_state_dict, write_torch_checkpoint
from gcnet_jax.pretrained import load_pretrained, save_model

_CONFIG = command.define_config_flag()
_SOURCE = flags.DEFINE_string("source", None, "what to convert")
_OUTPUT = flags.DEFINE_string("output", None, "folder or, with --to=openmmlab, file; must be new")
_TO = flags.DEFINE_enum("to", "orbax", ["orbax", "openmmlab"], "what to write")
_ALLOW_PARTIAL = command.define_allow_partial_flag()


def main() -> None:
    """Entry point of `scripts/convert_checkpoint.py`."""
    command.run(_convert, __name__)


def _convert(arguments: list[str]) -> None:
    command.refuse(arguments)
    config = command.checked_config(_CONFIG)
    source = command.required(_SOURCE.value, "--source")
    output = as_path(command.required(_OUTPUT.value, "--output"))
    if output.exists():
        raise InputError(f"--output: {output} is there already; give a new name")
    pretrained = load_pretrained(config, source, allow_partial=_ALLOW_PARTIAL.value)
    if pretrained.left:
        print(f"left as initialised or not taken: {pretrained.left}")
    state_dict = export_state_dict(pretrained.model)
    output.parent.mkdir(parents=True, exist_ok=True)
    if _TO.value == "orbax":
        save_model(output, pretrained.model, config, pretrained.classes)
    else:
        write_torch_checkpoint(output, state_dict, pretrained.classes)
    numbers = sum(array.size for array in state_dict.values())
    print(f"{len(state_dict)} arrays, {numbers:,} numbers, from {pretrained.source}")
    print(f"{pretrained.classes.num_classes} classes: {', '.join(pretrained.classes.names)}")
    print(f"written to {output}")
