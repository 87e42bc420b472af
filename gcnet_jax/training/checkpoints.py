"""What is saved of a run, and how it is found again.

A checkpoint is a folder `<workdir>/checkpoints/<step>` with the parts `model` (parameters and batch
statistics, all that inference needs, or their moving averages), `training` (step, optimizer state,
seed; beside averages the parameters and statistics too), `data` (position of the input pipeline),
`metadata` (config, what outputs mean, versions), `log` (metrics of the last steps, which no row has
yet), `metrics` (of an evaluation, if there was one) and `fingerprints` (of all these). Orbax writes
it in the background under another name and renames it when it is whole. None of it depends on how
many devices or hosts there were.
"""

import contextlib
import functools
import sys
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers as policies
from orbax.checkpoint import multihost

from gcnet_jax.config import architecture, check_same_epochs, differences, with_defaults
from gcnet_jax.errors import InputError
from gcnet_jax.files import write_whole
from gcnet_jax.parallel import is_loss_of_partner, meet
from gcnet_jax.training.checkpoint_files import (
    FOLDER,
    as_stored,
    brief,
    check_arrays,
    check_documents,
    check_step,
    finished_steps,
    misnamed,
    read_arrays,
    read_document,
    read_metadata,
    read_metrics,
    score,
    storage_path,
    without_metrics,
    write_metrics,
)
from gcnet_jax.training.fingerprints import document_fingerprint, fingerprints
from gcnet_jax.training.step import TrainState

_DAMAGED = "checkpoints_damaged"
_PATIENCE_SECONDS = 60.0
_NO_CHECKPOINT, _NO_USABLE_CHECKPOINT = -1, -2


class Checkpoints:
    """The checkpoints of one run. Restore first, then save.

    Args:
        workdir: the run's folder.
        metadata: what describes the run, as plain JSON: `config`, `versions`, and what the task
            adds. A workdir whose checkpoints hold another model, or differ in what the task has
            added, is refused.
        best_metric: the metric of evaluations that decides which checkpoint is the best.
        keep_newest: how many of the newest checkpoints to keep, beside the best one.
        defaults: what keys have that an earlier version's config lacks, as plain JSON.

    Raises:
        InputError: no checkpoint can be stored under the workdir's name.
    """

    def __init__(
        self,
        workdir: epath.PathLike,
        metadata: dict[str, Any],
        *,
        best_metric: str,
        keep_newest: int = 2,
        defaults: Mapping[str, Any] = types.MappingProxyType({}),
    ):
        self._workdir = storage_path(workdir)
        self._root = self._workdir / FOLDER
        self._metadata, self._defaults = metadata, dict(defaults)
        self._score = functools.partial(score, best_metric=best_metric)
        self._keep_newest = keep_newest
        self._has_read_back = False

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        """Made on the first save: it reads the metrics of all checkpoints, which must be whole."""
        policy = policies.AnyPreservationPolicy(
            [
                policies.LatestN(n=self._keep_newest),
                policies.BestN(
                    n=1, get_metric_fn=self._score, keep_checkpoints_without_metrics=False
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=self._score,  # Orbax writes metrics down only if this is given too
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(barrier_sync_fn=_waits_unless_failed()),
        )
        names = ("model", "training", "data", "metadata", "log", "fingerprints")
        return _Manager(self._root, options=options, item_names=names)

    def save(
        self,
        state: TrainState,
        iterator: Any,
        *,
        step: int,
        metrics: dict[str, float] | None = None,
        unlogged: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """Saves in the background, once the arrays are copied off the device.

        The first save is waited for and read back.

        Args:
            state: the state after `step` steps.
            iterator: of the batches, having given those of `step` steps; its `get_state` returns
                what is the same on all processes and ready for JSON.
            step: number of the checkpoint.
            metrics: of an evaluation of just this state, if there was one.
            unlogged: metrics of the last steps, which no row of the log has yet.

        Raises:
            InputError: this checkpoint, or the one before it that was still being written, cannot
                be written, or not be read again.
        """
        model, training = state.variables, state.remainder
        documents = {
            "data": iterator.get_state(),
            "metadata": self._metadata,
            "log": {"unlogged": [dict(metrics) for metrics in unlogged]},
        }
        written = {
            "model": fingerprints(model),
            "training": fingerprints(training),
            **{name: document_fingerprint(document) for name, document in documents.items()},
        }
        with self._failures_named():
            is_written = self._manager.save(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(model),
                    training=ocp.args.StandardSave(training),
                    fingerprints=ocp.args.JsonSave(written),
                    **{name: ocp.args.JsonSave(document) for name, document in documents.items()},
                ),
                metrics=as_stored(metrics or {}, step),
            )
        if not is_written:
            raise InputError(
                f"the checkpoint of step {step} was not written, for {self._root} has one of step "
                f"{self._manager.latest_step()}; move that away, then run the same command"
            )
        if not self._has_read_back:
            self.wait()
            self._read_back(self._root / str(step), model, training)
            self._has_read_back = True

    def add_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Notes the evaluation of the state that was restored; to be called before the first save.

        Raises:
            InputError: they cannot be written.
        """
        with self._failures_named():
            if jax.process_index() == 0:
                write_metrics(self._root / str(step), metrics)
            multihost_utils.sync_global_devices("metrics are written")

    def restore_newest(self, state: TrainState, iterator: Any) -> TrainState | None:
        """The state of the newest whole checkpoint, or None if there is no checkpoint.

        A checkpoint that cannot be read, or not as it was written, is reported and moved to
        `checkpoints_damaged`, once an older one has proved whole. The first process looks, and all
        take what it has found.

        Args:
            state: a state of the same structure, which gives shapes and shardings.
            iterator: of the batches; its `set_state` moves it to where the checkpoint left off.

        Raises:
            InputError: the checkpoints are another model's, or none of them can be read; nothing is
                moved then.
        """
        problem, found = None, _NO_CHECKPOINT
        if jax.process_index() == 0:
            try:
                found = self._newest_whole(state)
            except Exception as error:  # whatever it is, the others are waiting
                problem, found = error, _NO_USABLE_CHECKPOINT
        meet("the first process has looked for a checkpoint")
        found = int(multihost_utils.broadcast_one_to_all(np.int32(found)))
        if found == _NO_USABLE_CHECKPOINT:
            raise problem or InputError(f"{self._root} cannot be used; the first process says why")
        if found == _NO_CHECKPOINT:
            return None
        folder = self._root / str(found)
        if not folder.exists():
            raise InputError(f"{folder} is not to be seen here; all hosts need the same workdir")
        model = read_arrays(folder / "model", state.variables)
        training = read_arrays(folder / "training", state.remainder)
        iterator.set_state(_position(folder))
        return TrainState.of_parts(model, training)

    def unlogged(self, step: int) -> list[dict[str, float]]:
        """The metrics of the last steps before a checkpoint that no row of the log has yet."""
        folder = self._root / str(step)
        # Which earlier versions left out.
        return read_document(folder, "log")["unlogged"] if (folder / "log").exists() else []

    def has_metrics(self, step: int) -> bool:
        """Whether the checkpoint of a step is one of a state that was evaluated.

        To be asked by all processes, which get the answer of the first.
        """
        found = jax.process_index() == 0 and bool(read_metrics(self._root / str(step)))
        return bool(multihost_utils.broadcast_one_to_all(np.int32(found)))

    def wait(self) -> None:
        """Returns when all saves are on disk.

        Raises:
            InputError: the last one cannot be written.
        """
        if "_manager" not in self.__dict__:
            return
        with self._failures_named():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for pending saves and releases the threads.

        Raises:
            InputError: the last one cannot be written.
        """
        if "_manager" in self.__dict__:
            with self._failures_named():
                self._manager.close()

    def leave(self) -> None:
        """Releases what `close` does, on the way out after a failure, of which it adds nothing.

        A save under way is waited for. The other processes may never do their part of it, so among
        several it gets a minute.
        """
        if "_manager" in self.__dict__:
            closing = threading.Thread(target=self._close_quietly, daemon=True)
            closing.start()
            closing.join(_PATIENCE_SECONDS if jax.process_count() > 1 else None)

    def _close_quietly(self) -> None:
        with contextlib.suppress(Exception):
            self._manager.close()

    def _read_back(self, folder: epath.Path, model: PyTree, training: PyTree) -> None:
        """Has the first process read a checkpoint; all raise if it cannot be restored."""
        problem = None
        if jax.process_index() == 0:
            try:
                check_documents(folder)
                _check_state(folder, model, training)
            except Exception as error:  # whatever it is, the others are waiting
                problem = error
        meet("the first process has read the checkpoint back")
        if multihost_utils.broadcast_one_to_all(np.int32(problem is not None)):
            reason = brief(problem) if problem else "the first process says why"
            raise InputError(
                f"{folder} was written and cannot be read again ({reason}); use a workdir on "
                "another disk"
            ) from problem

    @contextlib.contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # what Orbax raises on a full disk is of several kinds
            if is_loss_of_partner(error):
                raise
            raise InputError(
                f"a checkpoint cannot be written to {self._root} ({brief(error)}). Those before "
                "are whole: make room, then run the same command to go on from the newest"
            ) from error

    def _newest_whole(self, state: TrainState) -> int:
        unreadable = misnamed(self._root)
        for step in sorted(finished_steps(self._root), reverse=True):
            folder = self._root / str(step)
            try:
                check_documents(folder)
                self._check_same_run(read_metadata(folder), folder)
                _check_state(folder, state.variables, state.remainder)
            except InputError:
                raise
            except Exception as error:  # what a damaged file raises depends on which it is
                unreadable[folder] = error
                continue
            self._set_aside(unreadable)
            self._set_aside(without_metrics(self._root))
            return step
        if unreadable:
            reasons = "; ".join(f"{folder.name}: {brief(e)}" for folder, e in unreadable.items())
            raise InputError(
                f"none of the checkpoints in {self._root} can be read ({reasons}). Mend them, or "
                "start again in another workdir"
            ) from next(iter(unreadable.values()))
        return _NO_CHECKPOINT

    def _check_same_run(self, saved: dict[str, Any], folder: epath.Path) -> None:
        theirs = with_defaults(saved["config"], self._defaults)
        ours = self._metadata["config"]
        parts = [
            ("model", architecture(theirs["model"]), architecture(ours["model"])),
            ("optimizer", _kept_by_optimizer(theirs), _kept_by_optimizer(ours)),
        ]
        for key in self._metadata.keys() - {"config", "versions"}:
            parts.append((key, saved[key], self._metadata[key]))
        for part, old, new in parts:
            if found := differences(old, new):
                raise InputError(
                    f"{folder} holds a checkpoint of another {part} ({'; '.join(found)}); "
                    "use another workdir, or the config that this one was started with"
                )
        check_same_epochs(theirs, ours, f"{folder} is of a run")
        for difference in differences(theirs, ours):
            logging.warning("Resuming under a changed config: %s", difference)

    def _set_aside(self, unreadable: Mapping[epath.Path, Exception]) -> None:
        for folder, error in unreadable.items():
            target = self._workdir / _DAMAGED / folder.name
            while target.exists():
                target = target.parent / f"{target.name}_"
            logging.warning(
                "Checkpoint %s cannot be read (%s); it is moved to %s and an older one is used.",
                folder,
                brief(error),
                target,
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            # In a bucket this is also what makes the folder that the checkpoint is moved to.
            write_whole(target.with_name(f"{target.name}.txt"), f"{brief(error)}\n")
            folder.rename(target)


def _position(folder: epath.Path) -> dict[str, Any]:
    """The place in the data; earlier versions counted batches and not samples."""
    position = read_document(folder, "data")
    if "next_batch" in position:
        batch_size = read_metadata(folder)["config"]["training"]["batch_size"]
        return {"next_sample": position["next_batch"] * batch_size}
    return position


def _check_state(folder: epath.Path, model: PyTree, training: PyTree) -> None:
    """Raises unless the arrays are what was written, and of the step that the folder's name says.

    Args:
        folder: the checkpoint.
        model: arrays or shapes of that part.
        training: of that one.
    """
    check_arrays(folder, "model", model)
    check_step(folder, int(check_arrays(folder, "training", training)["step"]))


class _Manager(ocp.CheckpointManager):
    """A manager that leaves preemption to the loop: asking twice would spoil the agreed moment."""

    def reached_preemption(self, step: int) -> bool:
        del step
        return False


def _waits_unless_failed() -> multihost.BarrierSyncFn:
    """Orbax's wait for the other processes, which one whose save has failed leaves out.

    Orbax has it wait even then, on its way out, for processes that wait for its part of the save:
    ten minutes, before anybody learns of a disk that was full at once.
    """
    wait = multihost.get_barrier_sync_fn()

    def wait_unless_failed(*, key: str, timeout_ms: int) -> None:
        if sys.exception() is None:
            wait(key=key, timeout_ms=timeout_ms)

    return wait_unless_failed


def _kept_by_optimizer(config: dict[str, Any]) -> dict[str, Any]:
    """What the structure of a training state depends on, beside the model."""
    optimizer = config.get("optimizer", {})
    return {"name": optimizer.get("name"), "moving average": bool(optimizer.get("ema_decay"))}
