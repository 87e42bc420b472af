"""What is saved of a run, and how it is found again.

A checkpoint is a folder `<workdir>/checkpoints/<step>` with four parts: `model` (parameters and
batch statistics, all that inference needs), `training` (step, optimizer state, seed), `data` (the
position of the input pipeline) and `metadata` (config, class names, versions). Orbax writes it in
the background under another name and renames it when it is whole.
"""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from grain import checkpoint as grain_checkpoint
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers as policies

from gcnet_jax.config import architecture, differences
from gcnet_jax.errors import InputError
from gcnet_jax.files import absolute, write_whole
from gcnet_jax.training.step import TrainState

_FOLDER = "checkpoints"
_DAMAGED = "checkpoints_damaged"
_BEST = "mIoU"  # the metric that decides which checkpoint is the best


class Checkpoints:
    """The checkpoints of one run. Restore first, then save.

    Args:
        workdir: the run's folder.
        metadata: what describes the run, as plain JSON: `config`, `classes`, `versions`. A workdir
            whose checkpoints hold another model or other classes is refused.
        keep_newest: how many of the newest checkpoints to keep, beside the best one.
    """

    def __init__(self, workdir: epath.PathLike, metadata: dict[str, Any], *, keep_newest: int = 2):
        self._workdir = absolute(workdir)  # Orbax takes no others
        self._root = self._workdir / _FOLDER
        self._metadata = metadata
        self._keep_newest = keep_newest

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        """Made on the first save: it reads the metrics of all checkpoints, which must be whole."""
        policy = policies.AnyPreservationPolicy(
            [
                policies.LatestN(n=self._keep_newest),
                policies.BestN(n=1, get_metric_fn=_score, keep_checkpoints_without_metrics=False),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=_score,  # Orbax writes metrics down only if this is given too
            cleanup_tmp_directories=True,
        )
        names = ("model", "training", "data", "metadata")
        return ocp.CheckpointManager(self._root, options=options, item_names=names)

    def save(
        self,
        state: TrainState,
        iterator: Any,
        *,
        step: int,
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Saves in the background, once the arrays are copied off the device.

        Args:
            state: the state after `step` steps.
            iterator: the Grain iterator, having given the batches of `step` steps.
            step: number of the checkpoint.
            metrics: of an evaluation of just this state, if there was one.
        """
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(_model_part(state)),
                training=ocp.args.StandardSave(_training_part(state)),
                data=grain_checkpoint.CheckpointSave(iterator),
                metadata=ocp.args.JsonSave(self._metadata),
            ),
            metrics=metrics or {},
        )

    def restore_newest(self, state: TrainState, iterator: Any) -> TrainState | None:
        """The state of the newest checkpoint that can be read, or None if there is no checkpoint.

        A checkpoint that cannot be read is reported and moved to `checkpoints_damaged`, once an
        older one has proved readable.

        Args:
            state: a state of the same structure, which gives shapes and shardings.
            iterator: the Grain iterator; it is moved to where the checkpoint left off.

        Raises:
            InputError: the checkpoints are another model's, or none of them can be read; nothing is
                moved then.
        """
        unreadable: dict[epath.Path, Exception] = {}
        for step in sorted(_steps(self._root), reverse=True):
            folder = self._root / str(step)
            try:
                self._check_same_run(read_metadata(folder), folder)
                read_metrics(folder)
                restored = self._restore(folder, state, iterator)
            except InputError:
                raise
            except Exception as error:  # what a damaged file raises depends on which it is
                unreadable[folder] = error
                continue
            self._set_aside(unreadable)
            self._set_aside(_without_metrics(self._root))
            return restored
        if unreadable:
            reasons = "; ".join(f"{folder.name}: {_brief(e)}" for folder, e in unreadable.items())
            raise InputError(
                f"none of the checkpoints in {self._root} can be read ({reasons}). Mend them, or "
                "start again in another workdir"
            ) from next(iter(unreadable.values()))
        return None

    def wait(self) -> None:
        """Returns when all saves are on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for pending saves and releases the threads."""
        if "_manager" in self.__dict__:
            self._manager.close()

    def _restore(self, folder: epath.Path, state: TrainState, iterator: Any) -> TrainState:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        with ocp.StandardCheckpointer() as checkpointer:
            model = checkpointer.restore(folder / "model", _model_part(abstract))
            training = checkpointer.restore(folder / "training", _training_part(abstract))
        grain_checkpoint.CheckpointHandler().restore(folder / "data", iterator)
        return TrainState(**model, **training)

    def _check_same_run(self, saved: dict[str, Any], folder: epath.Path) -> None:
        for part, old, new in (
            (
                "model",
                architecture(saved["config"]["model"]),
                architecture(self._metadata["config"]["model"]),
            ),
            ("classes", saved["classes"], self._metadata["classes"]),
        ):
            if found := differences(old, new):
                raise InputError(
                    f"{folder} holds a checkpoint of another {part} ({'; '.join(found)}); "
                    "use another workdir, or the config that this one was started with"
                )
        for difference in differences(saved["config"], self._metadata["config"]):
            logging.warning("Resuming under a changed config: %s", difference)

    def _set_aside(self, unreadable: Mapping[epath.Path, Exception]) -> None:
        for folder, error in unreadable.items():
            target = self._workdir / _DAMAGED / folder.name
            while target.exists():
                target = target.parent / f"{target.name}_"
            logging.warning(
                "Checkpoint %s cannot be read (%s); it is moved to %s and an older one is used.",
                folder,
                _brief(error),
                target,
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            # In a bucket this is also what makes the folder that the checkpoint is moved to.
            write_whole(target.with_name(f"{target.name}.txt"), f"{_brief(error)}\n")
            folder.rename(target)


def read_metadata(checkpoint: epath.PathLike) -> dict[str, Any]:
    """The metadata of one checkpoint folder: `config`, `classes` and `versions`."""
    path = epath.Path(checkpoint) / "metadata" / "metadata"
    return json.loads(path.read_text())


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
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, variables)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(absolute(folder / "model"), abstract)
    except Exception as error:
        raise InputError(f"the checkpoint {folder} cannot be read ({_brief(error)})") from error


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
        (partial / "metadata").mkdir()
        (partial / "metadata" / "metadata").write_text(json.dumps(metadata))
        partial.rename(folder)
    except Exception as error:  # what Orbax raises on a full disk is of several kinds
        raise InputError(f"{folder} cannot be written ({_brief(error)})") from error
    finally:
        if partial.exists():
            partial.rmtree()


def find_checkpoint(workdir: epath.PathLike) -> epath.Path:
    """The best checkpoint of a run if one was evaluated, else its newest.

    Raises:
        InputError: the workdir does not exist or has no checkpoint.
    """
    root = epath.Path(workdir) / _FOLDER
    steps = _steps(root)
    if not steps:
        raise InputError(f"there is no checkpoint in {workdir}: expected folders {root}/<step>")
    unreadable = _without_metrics(root)
    for folder, error in unreadable.items():
        logging.warning("The metrics of %s cannot be read (%s).", folder, _brief(error))
    scores = {
        step: _score(read_metrics(root / str(step)))
        for step in steps
        if root / str(step) not in unreadable
    }
    best = max(scores, key=lambda step: (scores[step], step), default=max(steps))
    return root / str(best)


def read_metrics(checkpoint: epath.PathLike) -> dict[str, float]:
    """The metrics of one checkpoint folder; empty if its state was not evaluated."""
    return json.loads((epath.Path(checkpoint) / "metrics" / "metrics").read_text())


def _steps(root: epath.Path) -> list[int]:
    """The steps that have a finished checkpoint."""
    if not root.exists():
        return []
    return [
        int(folder.name)
        for folder in root.iterdir()
        if folder.name.isdigit() and ocp.utils.is_checkpoint_finalized(folder)
    ]


def _without_metrics(root: epath.Path) -> dict[epath.Path, Exception]:
    """The checkpoints whose metrics cannot be read, with the reason."""
    found = {}
    for step in _steps(root):
        try:
            read_metrics(root / str(step))
        except (OSError, ValueError) as error:
            found[root / str(step)] = error
    return found


def _brief(error: Exception) -> str:
    reason = " ".join(str(error).split()).partition(" See full TensorStore details")[0]
    return f"{type(error).__name__}: {reason[:200]}"


def _score(metrics: Mapping[str, float]) -> float:
    """What makes one checkpoint better than another; the worst if it was not evaluated."""
    return metrics.get(_BEST, -math.inf)


def _model_part(state: TrainState) -> PyTree:
    return {"params": state.params, "statistics": state.statistics}


def _training_part(state: TrainState) -> PyTree:
    return {"step": state.step, "optimizer": state.optimizer, "seed": state.seed}
