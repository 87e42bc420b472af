"""What a shell offers when somebody presses Tab behind `gcnet`, by argcomplete.

Options are absl's, which argcomplete does not know: it is shown a parser that has the same verbs,
options and names, and parses nothing in earnest.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from absl import flags

from gcnet_jax.cli.runs import is_run
from gcnet_jax.config import leaves, library_configs, published_runs
from gcnet_jax.tasks import schemas

FIRST_ARGUMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "analyze_context": ("attention", "cost"),
        "list": ("configs", "data", "weights", "runs"),
        "prepare_dataset": (
            *("ade20k", "camvid", "cityscapes", "context_shapes", "voc12aug", "folder"),
            *("context_scenes", "imagenet", "class_folders"),
            *("coco", "context_objects", "coco_json"),
        ),
    }
)
"""What may stand behind some verbs; behind others there are runs, images or nothing."""
_TAKE_FILES = ("evaluate", "export", "predict")
_FOLDERS = ("workdir", "data_dir", "output_dir", "runs", "source", "train_images", "val_images")
_OVERRIDE = "--config."


def is_asked() -> bool:
    """Whether a shell has started this process to be told how a command line can go on."""
    return "_ARGCOMPLETE" in os.environ


def verb_given(verbs: Mapping[str, str]) -> str | None:
    """The verb of the shell's command line, if there is more behind it."""
    words = os.environ["COMP_LINE"].split(" ")
    return words[1] if len(words) > 2 and words[1] in verbs else None


def offer(verbs: Mapping[str, str], options: flags.FlagValues | None = None) -> None:
    """Tells the shell how the command line can go on, and ends this process.

    Args:
        verbs: what each verb does that is offered or given.
        options: of the one verb that is given.
    """
    import argcomplete

    parser = argparse.ArgumentParser("gcnet")
    chosen = parser.add_subparsers()
    for verb, what in verbs.items():
        of_verb = chosen.add_parser(verb, help=what, add_help=options is None)
        if options is not None:
            _add_options(of_verb, verb, options)
    argcomplete.autocomplete(parser, always_complete_options=False)


def _add_options(parser: Any, verb: str, options: flags.FlagValues) -> None:
    """Shows argcomplete what a verb takes.

    Args:
        parser: of argparse, to whose options argcomplete adds `completer`.
        verb: that it is of.
        options: of that verb.
    """
    from argcomplete.completers import DirectoriesCompleter

    for name in options:
        flag = options[name]
        kind: Any = {"action": "store_true"} if flag.boolean else {}
        if choices := getattr(flag.parser, "enum_values", None):
            kind = {"choices": choices}
        option = parser.add_argument(f"--{name}", help=(flag.help or "").replace("%", "%%"), **kind)
        if name == "config":
            option.completer = _configs
        elif name in _FOLDERS:
            option.completer = DirectoriesCompleter()
    if "config" in options and f" {_OVERRIDE}" in os.environ["COMP_LINE"]:  # many, unless meant
        about = {k: v.about for s in schemas().values() for k, v in leaves(s.section)}
        for key, text in about.items():
            parser.add_argument(f"{_OVERRIDE}{key}", help=text.replace("%", "%%"))
    if verb in FIRST_ARGUMENTS:
        parser.add_argument("first", choices=FIRST_ARGUMENTS[verb])
    elif verb in _TAKE_FILES:
        parser.add_argument("files", nargs="*").completer = _trained_networks_and_files


def _configs(prefix: str, **_: Any) -> list[str]:
    """The names of configs, short ones until a folder is given, and files of configs."""
    from argcomplete.completers import FilesCompleter

    names = [full if "/" in prefix else full.rpartition("/")[2] for full in library_configs()]
    return [*names, *FilesCompleter(("py", "json"))(prefix)]


def _trained_networks_and_files(
    prefix: str, parsed_args: argparse.Namespace, **_: Any
) -> list[str]:
    from argcomplete.completers import FilesCompleter

    files = FilesCompleter()(prefix)
    if parsed_args.files:  # the first names the network
        return files
    runs = [str(path) for path in sorted(Path("runs").glob("*")) if is_run(path)]
    return [*published_runs(), *runs, *files]
