"""Runs that a demonstration shows, and images to try them with."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from gcnet_jax.cli.runs import is_run
from gcnet_jax.errors import InputError, UsageError, printable
from gcnet_jax.files import in_bucket

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from gcnet_jax.analysis import AttentionMaps
    from gcnet_jax.serving import Served
    from gcnet_jax.task import TrainedNetwork

_FOLDERS = ("runs", "quickstart/runs", "quickstart_detection/runs")
_MOST = 4
_EXAMPLES = 6
_SQUARE = np.zeros((1, 1, 3), np.uint8)  # of all aspects the one that a window has room for


def runs_to_show() -> list[str]:
    """The newest runs of the first folder here that has any.

    Raises:
        UsageError: there are none.
    """
    for name in _FOLDERS:
        folder = epath.Path(name)
        if not folder.is_dir():
            continue
        runs = [run for run in folder.iterdir() if is_run(run) and _has_checkpoint(run)]
        runs.sort(key=lambda run: run.stat().mtime, reverse=True)
        if len(runs) > _MOST:
            print(printable(f"{folder} has {len(runs)} runs; the newest {_MOST} are shown"))
        if runs:
            return sorted(map(os.fspath, runs[:_MOST]))
    raise UsageError(
        "no run is given, and there is none in ./runs, ./quickstart or ./quickstart_detection; "
        "`gcnet quickstart` trains two in two minutes, and then `gcnet demo` shows them"
    )


def load_networks(runs: Sequence[str]) -> "list[Served]":
    """Loads networks, named by what tells them apart in their paths.

    Raises:
        InputError: one of them cannot be loaded.
    """
    from gcnet_jax.serving import Served
    from gcnet_jax.tasks.runs import load

    networks = []
    for run, name in zip(runs, _short_names(runs), strict=True):
        network = load(run)
        networks.append(Served(name, network, _attention_of(network)))
        print(printable(f"loaded {networks[-1].network.source}"), flush=True)
    return networks


def examples_of(networks: "Sequence[Served]") -> "list[UInt8[np.ndarray, 'h w 3']]":
    """Images that networks have not learnt from, where their data sets are still there.

    A network may be a stranger's, whose config must not choose which other machines are asked: none
    are from buckets, and none of the data set that an exported file names.
    """
    from gcnet_jax.export import is_exported

    data_sets = {}
    for served in networks:
        data = served.network.config.data
        if not (in_bucket(data.data_dir) or is_exported(served.network.source)):
            data_sets[data.name, data.data_dir] = served
    each = max(1, _EXAMPLES // max(1, len(data_sets)))
    return [image for served in data_sets.values() for image in _held_out(served, each)]


def _held_out(served: "Served", count: int) -> "list[UInt8[np.ndarray, 'h w 3']]":
    """Images of the split that a run is evaluated on, spread over it; none if it is elsewhere."""
    from gcnet_jax.tasks import task_of

    config = served.network.config
    try:
        return [image for _, image in task_of(config).evaluation_images(config, count)]
    except InputError as error:  # photos can be dropped all the same
        print(printable(f"no examples of {served.name}: {error}"))
        return []


def _attention_of(network: "TrainedNetwork") -> "AttentionMaps | None":
    from gcnet_jax.analysis import AttentionMaps
    from gcnet_jax.tasks import task_of

    attention = task_of(network.config).attention
    if attention is None:
        return None
    try:
        attention.seen(_SQUARE, network.config)
        model = network.model
    except InputError:  # it sees every image in parts, or comes from a file that has no model
        return None
    return AttentionMaps(model, attention, network.config)


def _has_checkpoint(run: epath.Path) -> bool:
    return any(path.name.isdecimal() for path in (run / "checkpoints").iterdir())


def _short_names(runs: Sequence[str]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    parts = [tuple(part for part in run.split("/") if part) for run in runs]
    count = 1
    while count < max(map(len, parts)) and len({of_run[-count:] for of_run in parts}) < len(parts):
        count += 1
    return [printable("/".join(of_run[-count:])) for of_run in parts]
