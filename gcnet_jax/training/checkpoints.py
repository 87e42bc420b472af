"""What is saved of a run, and how it is found again.

A checkpoint is a folder `<workdir>/checkpoints/<step>` with four parts: `model` (parameters and
batch statistics, all that inference needs), `training` (step, optimizer state, seed), `data` (the
position of the input pipeline) and `metadata` (config, class names, versions). Orbax writes it in
the background under another name and renames it when it is whole.
"""

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

from gcnet_jax.config import differences
from gcnet_jax.errors import InputError
from gcnet_jax.training.step import TrainState

_FOLDER = "checkpoints"
_DAMAGED = "checkpoints_damaged"
_BEST = "mIoU"  # the metric that decides which checkpoint is the best


class Checkpoints:
    """The checkpoints of one run.

    Args:
        workdir: the run's folder.
        metadata: what describes the run, as plain JSON: `config`, `classes`, `versions`. A workdir
            whose checkpoints hold another model or other classes is refused.
        keep_newest: how many of the newest checkpoints to keep, beside the best one.

    Raises:
        InputError: on restoring, see `restore_newest`.
    """

    def __init__(self, workdir: epath.PathLike, metadata: dict[str, Any], *, keep_newest: int = 2):
        self._workdir = epath.Path(workdir).resolve()  # Orbax takes absolute paths only
        self._metadata = metadata
        options = ocp.CheckpointManagerOptions(
            best_fn=_score,  # Orbax writes metrics down only if this is given too
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(n=keep_newest),
                    policies.BestN(
                        n=1,
                        get_metric_fn=_score,
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(
            self._workdir / _FOLDER,
            options=options,
            item_names=("model", "training", "data", "metadata"),
        )

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

        A checkpoint that cannot be read is reported, moved to `checkpoints_damaged`, and the one
        before it is tried.

        Args:
            state: a state of the same structure, which gives shapes and shardings.
            iterator: the Grain iterator; it is moved to where the checkpoint left off.

        Raises:
            InputError: the checkpoints are another model's, or none of them can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            folder = self._workdir / _FOLDER / str(step)
            try:
                self._check_same_run(read_metadata(folder), folder)
                restored = self._restore(step, state, iterator)
            except InputError:
                raise
            except Exception as error:  # what a damaged file raises depends on which it is
                reason = " ".join(str(error).split())[:200]
                logging.warning(
                    "Checkpoint %s cannot be read (%s: %s); trying the one before.",
                    folder,
                    type(error).__name__,
                    reason,
                )
                self._set_aside(folder)
                continue
            return restored
        if steps:
            raise InputError(
                f"none of the checkpoints in {self._workdir / _FOLDER} can be read; they are now "
                f"in {self._workdir / _DAMAGED}. Start again in another workdir, or mend them"
            )
        return None

    def wait(self) -> None:
        """Returns when all saves are on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for pending saves and releases the threads."""
        self._manager.close()

    def _restore(self, step: int, state: TrainState, iterator: Any) -> TrainState:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        items = self._manager.restore(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardRestore(_model_part(abstract)),
                training=ocp.args.StandardRestore(_training_part(abstract)),
                data=grain_checkpoint.CheckpointRestore(iterator),
            ),
        )
        return TrainState(**items["model"], **items["training"])

    def _check_same_run(self, saved: dict[str, Any], folder: epath.Path) -> None:
        for part, old, new in (
            ("model", saved["config"]["model"], self._metadata["config"]["model"]),
            ("classes", saved["classes"], self._metadata["classes"]),
        ):
            if found := differences(old, new):
                raise InputError(
                    f"{folder} holds a checkpoint of another {part} ({'; '.join(found)}); "
                    "use another workdir, or the config that this one was started with"
                )
        ignored = ("model", "evaluation")
        old, new = (
            {k: v for k, v in config.items() if k not in ignored}
            for config in (saved["config"], self._metadata["config"])
        )
        for difference in differences(old, new):
            logging.warning("Resuming under a changed config: %s", difference)

    def _set_aside(self, folder: epath.Path) -> None:
        target = self._workdir / _DAMAGED / folder.name
        target.parent.mkdir(parents=True, exist_ok=True)
        while target.exists():
            target = target.parent / f"{target.name}_"
        folder.rename(target)
        self._manager.reload()


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
            return checkpointer.restore((folder / "model").resolve(), abstract)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the checkpoint {folder} cannot be read: {reason}") from error


def find_checkpoint(workdir: epath.PathLike) -> epath.Path:
    """The best checkpoint of a run if one was evaluated, else its newest.

    Raises:
        InputError: the workdir does not exist or has no checkpoint.
    """
    root = epath.Path(workdir) / _FOLDER
    steps = sorted(int(p.name) for p in root.iterdir() if p.name.isdigit()) if root.exists() else []
    if not steps:
        raise InputError(f"there is no checkpoint in {workdir}: expected folders {root}/<step>")
    evaluated = {}
    for step in steps:
        path = root / str(step) / "metrics" / "metrics"
        if path.exists():
            evaluated[step] = _score(json.loads(path.read_text()))
    best = max(evaluated, key=lambda step: (evaluated[step], step)) if evaluated else steps[-1]
    return root / str(best)


def _score(metrics: Mapping[str, float]) -> float:
    """What makes one checkpoint better than another; the worst if it was not evaluated."""
    return metrics.get(_BEST, -math.inf)


def _model_part(state: TrainState) -> PyTree:
    return {"params": state.params, "statistics": state.statistics}


def _training_part(state: TrainState) -> PyTree:
    return {"step": state.step, "optimizer": state.optimizer, "seed": state.seed}
