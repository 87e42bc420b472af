"""One checkpoint folder, and which of those in a workdir to take."""

import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jaxtyping import PyTree

from gcnet_jax.errors import InputError
from gcnet_jax.files import absolute, write_whole
from gcnet_jax.training.fingerprints import document_fingerprint, fingerprints

FOLDER = "checkpoints"
"""Of a workdir, which holds one folder a step."""
_BEST = "mIoU"  # the metric that decides which checkpoint is the best
_DOCUMENTS = ("data", "metadata")  # the parts that are JSON
_OWN_FINGERPRINT = "fingerprint"  # the key of that of the metrics, which can come later


class Damaged(Exception):
    """Something can be read, but is not what was written."""


def read_metadata(checkpoint: epath.PathLike) -> dict[str, Any]:
    """The metadata of one checkpoint folder: `config`, `classes` and `versions`."""
    return read_document(epath.Path(checkpoint), "metadata")


def restore_variables(checkpoint: epath.PathLike, variables: PyTree) -> PyTree:
    """The model's variables from one checkpoint folder.

    Args:
        checkpoint: a folder `<workdir>/checkpoints/<step>`.
        variables: variables of the same structure, which give shapes and shardings.

    Raises:
        InputError: the folder is no checkpoint, or cannot be read.
    """
    folder = epath.Path(checkpoint)
    if not (folder / "model").exists():
        raise InputError(f"{folder} is not a checkpoint: it has no folder 'model'")
    try:
        restored = read_arrays(absolute(folder / "model"), variables)
        if fingerprints(restored) != read_document(folder, "fingerprints")["model"]:
            raise Damaged("its model is not what was written")
        return restored
    except Exception as error:
        raise InputError(f"the checkpoint {folder} cannot be read ({brief(error)})") from error


def save_variables(checkpoint: epath.PathLike, variables: PyTree, metadata: dict[str, Any]) -> None:
    """Writes one checkpoint folder with the model's part and the metadata, and nothing else.

    Args:
        checkpoint: the folder; it appears when it is whole.
        variables: parameters and statistics.
        metadata: `config` and `classes` as plain JSON.

    Raises:
        InputError: the folder is there already, or cannot be written.
    """
    folder = absolute(checkpoint)
    if folder.exists():
        raise InputError(f"{folder} is there already; give the name of a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    if partial.exists():
        partial.rmtree()
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(partial / "model", variables)
        documents = {"metadata": metadata, "fingerprints": {"model": fingerprints(variables)}}
        for name, document in documents.items():
            (partial / name).mkdir()
            (partial / name / "metadata").write_text(json.dumps(document))
        partial.rename(folder)
    except Exception as error:  # what Orbax raises on a full disk is of several kinds
        raise InputError(f"{folder} cannot be written ({brief(error)})") from error
    finally:
        if partial.exists():
            partial.rmtree()


def find_checkpoint(workdir: epath.PathLike) -> epath.Path:
    """The best checkpoint of a run if one was evaluated, else its newest.

    Raises:
        InputError: the workdir does not exist or has no checkpoint.
    """
    root = epath.Path(workdir) / FOLDER
    steps = finished_steps(root)
    if not steps:
        raise InputError(f"there is no checkpoint in {workdir}: expected folders {root}/<step>")
    unreadable = without_metrics(root)
    for folder, error in unreadable.items():
        logging.warning("The metrics of %s cannot be read (%s).", folder, brief(error))
    scores = {
        step: score(read_metrics(root / str(step)))
        for step in steps
        if root / str(step) not in unreadable
    }
    best = max(scores, key=lambda step: (scores[step], step), default=max(steps))
    return root / str(best)


def read_metrics(checkpoint: epath.PathLike) -> dict[str, float]:
    """The metrics of one checkpoint folder; empty if its state was not evaluated.

    Raises:
        Damaged: they are not what was written.
    """
    metrics = read_document(epath.Path(checkpoint), "metrics")
    if metrics.pop(_OWN_FINGERPRINT, None) != document_fingerprint(metrics):
        raise Damaged("its metrics are not what was written")
    return metrics


def with_fingerprint(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as they are stored."""
    return {**metrics, _OWN_FINGERPRINT: document_fingerprint(dict(metrics))}


def write_metrics(checkpoint: epath.PathLike, metrics: Mapping[str, float]) -> None:
    """Puts metrics in the place of those of a checkpoint folder, which is whole at every moment."""
    path = epath.Path(checkpoint) / "metrics" / "metrics"
    write_whole(path, json.dumps(with_fingerprint(metrics)))


def read_document(folder: epath.Path, name: str) -> dict[str, Any]:
    """A part of a checkpoint that is JSON."""
    # Orbax calls the files of all such parts alike, except for metrics.
    file = "metrics" if name == "metrics" else "metadata"
    return json.loads((folder / name / file).read_text())


def check_documents(folder: epath.Path) -> None:
    """Raises unless the parts that are JSON are what was written."""
    written = read_document(folder, "fingerprints")
    for name in _DOCUMENTS:
        if document_fingerprint(read_document(folder, name)) != written[name]:
            raise Damaged(f"its {name} is not what was written")
    read_metrics(folder)


def check_arrays(folder: epath.Path, name: str, like: PyTree) -> None:
    """Reads a part into the memory of this process alone and compares it with what was written."""
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"process_{jax.process_index()}",
    )
    here = _on_one_device()
    there = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like)
    arrays = read_arrays(folder / name, there, alone)
    if fingerprints(arrays) != read_document(folder, "fingerprints")[name]:
        raise Damaged(f"its {name} is not what was written")


def _on_one_device() -> jax.sharding.SingleDeviceSharding:
    """In the host's memory, unless `JAX_PLATFORMS` leaves it out."""
    try:
        devices = jax.local_devices(backend="cpu")
    except RuntimeError:
        devices = jax.local_devices()
    return jax.sharding.SingleDeviceSharding(devices[0])


def read_arrays(
    folder: epath.Path,
    like: PyTree,
    processes: ocp.options.MultiprocessingOptions | None = None,
) -> PyTree:
    """Arrays with the shapes of `like` that lie where those do."""
    processes = processes or ocp.options.MultiprocessingOptions()
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=processes)
    how = ocp.checkpoint_utils.construct_restore_args(like)
    with ocp.Checkpointer(handler, multiprocessing_options=processes) as checkpointer:
        return checkpointer.restore(folder, args=ocp.args.PyTreeRestore(like, restore_args=how))


def finished_steps(root: epath.Path) -> list[int]:
    """The steps that have a finished checkpoint."""
    if not root.exists():
        return []
    return [
        int(folder.name)
        for folder in root.iterdir()
        if folder.name.isdigit() and ocp.utils.is_checkpoint_finalized(folder)
    ]


def without_metrics(root: epath.Path) -> dict[epath.Path, Exception]:
    """The checkpoints whose metrics cannot be read, with the reason."""
    found = {}
    for step in finished_steps(root):
        try:
            read_metrics(root / str(step))
        except (OSError, ValueError, AttributeError, Damaged) as error:
            found[root / str(step)] = error
    return found


def brief(error: Exception) -> str:
    """What an exception of Orbax says, in a line."""
    reason = " ".join(str(error).split()).partition(" See full TensorStore details")[0]
    return f"{type(error).__name__}: {reason[:200]}"


def score(metrics: Mapping[str, float]) -> float:
    """What makes one checkpoint better than another; the worst if it was not evaluated."""
    return metrics.get(_BEST, -math.inf)
