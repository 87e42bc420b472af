"""One checkpoint folder, and which of those in a workdir to take."""

import json
import math
import re
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jaxtyping import PyTree

from gcnet_jax.errors import InputError
from gcnet_jax.files import absolute, as_path, as_utf8, in_bucket, read_json, write_whole
from gcnet_jax.training.fingerprints import document_fingerprint, fingerprints

FOLDER = "checkpoints"
"""Name of the folder of a workdir that holds the checkpoints, one folder a step."""
_TRIAL = ".trial"  # of a workdir, the folder of a checkpoint that was only tried
_MB = 1e6
_SMALL_FILES = 1_000_000  # bytes of a checkpoint beside its arrays, at most
_LAST_STEP = np.iinfo(np.int32).max  # that a state counts to
_DOCUMENTS = ("data", "metadata")  # the parts that are JSON, in checkpoints of all versions
# What is stored with the metrics, which can come later than the rest.
_OWN_FINGERPRINT, _OWN_STEP = "fingerprint", "step"


class Damaged(ValueError):
    """Something can be read, but is not what was written."""


def storage_path(path: epath.PathLike) -> epath.Path:
    """A folder of checkpoints as Orbax takes it: from the root of its file system.

    Raises:
        InputError: it has a backslash, for which TensorStore would write into another folder; or
            it is not UTF-8.
    """
    found = as_utf8(absolute(path))
    if "\\" in str(found):
        raise InputError(f"{found} has a backslash; no checkpoint can be kept there, use another")
    return found


def read_metadata(checkpoint: epath.PathLike) -> dict[str, Any]:
    """The metadata of one checkpoint folder: `config`, `versions`, and what the task adds."""
    return read_document(epath.Path(checkpoint), "metadata")


def restore_variables(checkpoint: epath.PathLike, variables: PyTree) -> PyTree:
    """The model's variables from one checkpoint folder.

    Args:
        checkpoint: a folder `<workdir>/checkpoints/<step>`.
        variables: variables of the same structure, which give shapes and shardings.

    Raises:
        InputError: the folder is no checkpoint, or cannot be read.
    """
    folder = storage_path(checkpoint)
    if not (folder / "model").exists():
        raise InputError(f"{folder} is not a checkpoint: it has no folder 'model'")
    try:
        restored = read_arrays(folder / "model", variables)
        check_fingerprints(folder, "model", restored)
        return restored
    except Exception as error:
        raise InputError(f"the checkpoint {folder} cannot be read ({brief(error)})") from error


def save_variables(checkpoint: epath.PathLike, variables: PyTree, metadata: dict[str, Any]) -> None:
    """Writes one checkpoint folder with the model's part and the metadata, and nothing else.

    Args:
        checkpoint: the folder; it appears when it is whole and was read back.
        variables: parameters and statistics.
        metadata: what describes the run, as plain JSON.

    Raises:
        InputError: the folder is there already, or cannot be written, or not be read again.
    """
    folder = storage_path(checkpoint)
    if folder.exists():
        raise InputError(f"{folder} is there already; give the name of a new folder")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        with _checkpointer(_this_process_alone()) as checkpointer:
            checkpointer.save(partial / "model", args=ocp.args.PyTreeSave(variables))
        documents = {"metadata": metadata, "fingerprints": {"model": fingerprints(variables)}}
        for name, document in documents.items():
            (partial / name).mkdir()
            (partial / name / "metadata").write_text(json.dumps(document))
        check_arrays(partial, "model", variables)
        partial.rename(folder)
    except Exception as error:  # what Orbax raises on a full disk is of several kinds
        raise InputError(f"{folder} cannot be written ({brief(error)})") from error
    finally:
        _remove(partial)


def try_out(workdir: epath.Path, checkpoint_bytes: int = 0) -> None:
    """Saves a number where checkpoints are to come, and reads it back; leaves nothing there.

    Args:
        workdir: from `storage_path`; made if it is not there.
        checkpoint_bytes: of the arrays of a checkpoint.

    Raises:
        InputError: what is saved there cannot be read again, or a checkpoint has no room.
    """
    if not in_bucket(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        free, needed = shutil.disk_usage(workdir).free, checkpoint_bytes + _SMALL_FILES
        if free < needed:
            raise InputError(
                f"the disk of {workdir} has {free / _MB:.0f} MB free, and a checkpoint needs "
                f"{needed / _MB:.0f} MB; make room, or use a workdir on another disk"
            )
    trial = workdir / _TRIAL
    _remove(trial)
    try:
        save_variables(trial, {"number": np.ones(1, np.float32)}, {})
    except InputError as error:
        raise InputError(
            f"no checkpoint can be kept in {workdir}; use another folder, or make room: {error}"
        ) from error
    finally:
        _remove(trial)


def _remove(folder: epath.Path) -> None:
    if folder.exists():
        folder.rmtree()


def find_checkpoint(workdir: epath.PathLike, best_metric: str) -> epath.Path:
    """The best checkpoint of a run if one was evaluated, else its newest.

    Args:
        workdir: of the run.
        best_metric: that decides which is the best; see `gcnet_jax.task.Task`.

    Raises:
        InputError: the workdir does not exist or has no checkpoint.
    """
    root = storage_path(workdir) / FOLDER
    steps = finished_steps(root)
    if not steps:
        raise InputError(_why_no_checkpoint(as_path(workdir), root))
    unreadable = without_metrics(root)
    for folder, error in unreadable.items():
        logging.warning("The metrics of %s cannot be read (%s).", folder, brief(error))
    scores = {
        step: score(read_metrics(root / str(step)), best_metric)
        for step in steps
        if root / str(step) not in unreadable
    }
    best = max(scores, key=lambda step: (scores[step], step), default=max(steps))
    return root / str(best)


def _why_no_checkpoint(workdir: epath.Path, root: epath.Path) -> str:
    if not workdir.exists():
        return f"there is no run {workdir}"
    if (workdir / "config.json").is_file():
        return (
            f"there is no checkpoint in {workdir} yet: the first of this run comes after "
            "training.checkpoint_every steps"
        )
    return f"there is no checkpoint in {workdir}, which is no run: expected folders {root}/<step>"


def read_metrics(checkpoint: epath.PathLike) -> dict[str, float]:
    """The metrics of one checkpoint folder; empty if its state was not evaluated.

    Raises:
        OSError: they are not there, or cannot be read.
        ValueError: they are not what was written, or of another step than the folder's name says.
    """
    folder = epath.Path(checkpoint)
    metrics = read_document(folder, "metrics")
    if not all(isinstance(value, int | float) for value in metrics.values()):
        raise Damaged("its metrics are no numbers")
    if metrics.pop(_OWN_FINGERPRINT, None) != document_fingerprint(metrics):
        raise Damaged("its metrics are not what was written")
    check_step(folder, int(metrics.pop(_OWN_STEP, folder.name)))
    return metrics


def as_stored(metrics: Mapping[str, float], step: int) -> dict[str, float]:
    """Metrics with what is stored beside them."""
    own = {**metrics, _OWN_STEP: step}
    return {**own, _OWN_FINGERPRINT: document_fingerprint(own)}


def write_metrics(checkpoint: epath.PathLike, metrics: Mapping[str, float]) -> None:
    """Puts metrics in the place of those of a checkpoint folder, which is whole at every moment."""
    folder = epath.Path(checkpoint)
    content = json.dumps(as_stored(metrics, int(folder.name)))
    write_whole(folder / "metrics" / "metrics", content)


def check_step(folder: epath.Path, step: int) -> None:
    """Raises `Damaged` unless a folder has the name of the step that was found in it."""
    if str(step) != folder.name:
        raise Damaged(f"it is of step {step}, not of the one that its name says")


def read_document(folder: epath.Path, name: str) -> dict[str, Any]:
    """A part of a checkpoint that is JSON.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is no object of JSON.
    """
    # Orbax calls the files of all such parts alike, except for metrics.
    file = "metrics" if name == "metrics" else "metadata"
    document = read_json(folder / name / file)
    if not isinstance(document, dict):
        raise Damaged(f"its {name} are no object of JSON")
    return document


def check_documents(folder: epath.Path) -> None:
    """Raises unless the parts that are JSON are what was written."""
    written = read_document(folder, "fingerprints")
    for name in (*_DOCUMENTS, *(["log"] if "log" in written else [])):
        if document_fingerprint(read_document(folder, name)) != written[name]:
            raise Damaged(f"its {name} is not what was written")
    read_metrics(folder)


def check_arrays(folder: epath.Path, name: str, like: PyTree) -> PyTree:
    """Reads a part into the memory of this process alone and compares it with what was written.

    Raises:
        Exception: what Orbax raises on what it cannot read, or `Damaged`.
    """
    here = _on_one_device()
    there = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like)
    arrays = read_arrays(folder / name, there, _this_process_alone())
    check_fingerprints(folder, name, arrays)
    return arrays


def check_fingerprints(folder: epath.Path, name: str, arrays: PyTree) -> None:
    """Raises `Damaged` unless a part is what was written."""
    if fingerprints(arrays) != read_document(folder, "fingerprints")[name]:
        raise Damaged(f"its {name} is not what was written")


def _this_process_alone() -> ocp.options.MultiprocessingOptions:
    return ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"process_{jax.process_index()}",
    )


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
    how = ocp.checkpoint_utils.construct_restore_args(like)
    with _checkpointer(processes) as checkpointer:
        return checkpointer.restore(folder, args=ocp.args.PyTreeRestore(like, restore_args=how))


def _checkpointer(
    processes: ocp.options.MultiprocessingOptions | None = None,
) -> ocp.Checkpointer:
    """What reads and writes a tree of arrays; by default all processes do it together."""
    processes = processes or ocp.options.MultiprocessingOptions()
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=processes)
    return ocp.Checkpointer(handler, multiprocessing_options=processes)


def finished_steps(root: epath.Path) -> list[int]:
    """The steps that have a finished checkpoint."""
    return [int(folder.name) for folder in _numbered(root) if _is_step(folder.name)]


def misnamed(root: epath.Path) -> dict[epath.Path, Exception]:
    """The finished checkpoints whose names are numbers but no steps of a run, with the reason."""
    reason = Damaged("its name is no step: expected digits without leading zeros")
    return {folder: reason for folder in _numbered(root) if not _is_step(folder.name)}


def _numbered(root: epath.Path) -> list[epath.Path]:
    """The finished checkpoints."""
    if not root.exists():
        return []
    return [
        folder
        for folder in root.iterdir()
        if folder.name.isdigit() and ocp.utils.is_checkpoint_finalized(folder)
    ]


def _is_step(name: str) -> bool:
    return re.fullmatch("0|[1-9][0-9]{0,9}", name) is not None and int(name) <= _LAST_STEP


def without_metrics(root: epath.Path) -> dict[epath.Path, Exception]:
    """The checkpoints whose metrics cannot be read, with the reason."""
    found = {}
    for step in finished_steps(root):
        try:
            read_metrics(root / str(step))
        except (OSError, ValueError) as error:
            found[root / str(step)] = error
    return found


def brief(error: Exception) -> str:
    """What an exception of Orbax says, in a line."""
    reason = " ".join(str(error).split()).partition(" See full TensorStore details")[0]
    return f"{type(error).__name__}: {reason[:200]}"


def score(metrics: Mapping[str, float], best_metric: str) -> float:
    """What makes one checkpoint better than another; the worst without an evaluation."""
    value = metrics.get(best_metric, math.nan)
    return -math.inf if math.isnan(value) else value
