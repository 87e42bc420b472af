"""What `--help` and `--help_config` show."""

import sys

from absl import flags

from gcnet_jax.cli.wrapping import wrap, wrap_paragraphs
from gcnet_jax.config import leaves
from gcnet_jax.tasks import schemas

_REPEATS = ";\n    repeat this option"  # how absl goes on, in lines of its own
_FURTHER = "      "  # before the lines of an option or a key but the first


def help_of(module: str, options: flags.FlagValues) -> str:
    """What `--help` shows: the docstring of a command's module, and its options."""
    lines = [wrap_paragraphs((sys.modules[module].__doc__ or "").strip()), "", "Flags:"]
    for name in options:
        about, repeats, _ = str(options[name].help).partition(_REPEATS)
        if repeats and "may be repeated" not in about:
            about += "; may be repeated"
        if options[name].default not in (None, []):
            about += f" (default: {options[name].default})"
        lines.append(_option(name, about))
    if "config" in options:
        lines.append(_option("help_config", "shows the keys of a config with their defaults"))
    return "\n".join(lines)


def help_of_config() -> str:
    """What `--help_config` shows: the keys of the configs of all tasks."""
    lines = [wrap("Keys of a config, with their defaults; --config.KEY=VALUE changes one.")]
    for task, schema in schemas().items():
        lines += ["", f"Of {task}:", ""]
        for key, leaf in leaves(schema.section):
            about = wrap(f"{leaf.about} ({leaf.range})", indent=_FURTHER, further=_FURTHER)
            lines += [f"  {key} = {leaf.default!r}", about]
    return "\n".join(lines)


def _option(name: str, what: str) -> str:
    return wrap(f"--{name}: {what}", indent="  ", further=_FURTHER)
