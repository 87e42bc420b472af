"""What `--help` and `--help_config` show."""

import sys

from absl import flags

from gcnet_jax.config import leaves
from gcnet_jax.tasks import schemas


def help_of(module: str, options: flags.FlagValues) -> str:
    """What `--help` shows: the docstring of a command's module, and its options."""
    lines = [(sys.modules[module].__doc__ or "").strip(), "", "Flags:"]
    for name in options:
        default = (
            f" (default: {options[name].default})" if options[name].default is not None else ""
        )
        lines.append(f"  --{name}: {options[name].help}{default}")
    if "config" in options:
        lines.append("  --help_config: shows the keys of a config with their defaults, and ends")
    return "\n".join(lines)


def help_of_config() -> str:
    """What `--help_config` shows: the keys of the configs of all tasks."""
    lines = ["Keys of a config, with their defaults; --config.KEY=VALUE changes one."]
    for task, schema in schemas().items():
        lines += ["", f"Of {task}:", ""]
        for key, leaf in leaves(schema.section):
            lines += [f"  {key} = {leaf.default!r}", f"      {leaf.about} ({leaf.range})"]
    return "\n".join(lines)
