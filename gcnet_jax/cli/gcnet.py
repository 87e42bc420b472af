# PYTHON_ARGCOMPLETE_OK
"""The installed command `gcnet`, with a verb for each thing that it does."""

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.standard_output import show
from gcnet_jax.cli.wrapping import wrap
from gcnet_jax.errors import did_you_mean

VERBS: Mapping[str, str] = MappingProxyType(
    {
        "quickstart": "trains with and without the block, and shows its use",
        "prepare_dataset": "prepares a data set, an official one or your own",
        "train": "trains a network, or goes on where it was interrupted",
        "evaluate": "prints and writes the metrics of a trained network",
        "predict": "says what is in images, videos and folders of them",
        "demo": "shows networks on a web page to drop photos on",
        "export": "writes a network as one file that runs elsewhere",
        "convert_checkpoint": "turns checkpoints into OpenMMLab's files and back",
        "analyze_context": "shows what context blocks attend to, and what they cost",
        "ablate": "trains with each kind of block, and compares them",
        "list": "shows which configs, data sets and weights there are",
    }
)
"""What each verb does; the module of its name in this package does it."""


def main() -> None:
    """Does what this process's command line says and ends the process."""
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        show(_help())
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        print(f"gcnet_jax {importlib.metadata.version('gcnet_jax')}")
        sys.exit(0)
    verb = arguments[0]
    if verb not in VERBS:
        advice = f"{did_you_mean(verb, VERBS)}; expected one of {', '.join(VERBS)}"
        print(f"error: gcnet has no verb {verb!r}{advice}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"gcnet {verb}", *arguments[1:]]
    run_verb(verb)


def run_verb(verb: str) -> None:
    """Does what a verb's command line says and ends the process.

    Args:
        verb: name of a module of this package.
    """
    with importing():
        command = importlib.import_module(f"gcnet_jax.cli.{verb}")
        from gcnet_jax.cli.process import run_alone
    run_alone(command.main)


def _complete() -> None:
    """Tells the shell that has started this process how its command line can go on, and ends it."""
    from gcnet_jax.cli.completion import offer, verb_given

    if verb := verb_given(VERBS):
        importlib.import_module(f"gcnet_jax.cli.{verb}").main()  # which knows its options
    offer(VERBS)


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = [
        wrap(what, indent=f"  {verb:{width}}  ", further=" " * (width + 4))
        for verb, what in VERBS.items()
    ]
    head = ("GCNet for JAX: global-context networks.", "", "    gcnet VERB ...", "")
    return "\n".join([*head, *verbs, "", "gcnet VERB --help says what a verb takes."])
