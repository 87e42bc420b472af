"""Hashes of what a run has saved, which tell states apart to the last bit."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from gcnet_jax.training import read_rows
from gcnet_jax.training.checkpoint_files import FOLDER, finished_steps

_ONE_AT_A_TIME = threading.Lock()


def digest(checkpoint: Path) -> str:
    """Hashes a checkpoint: its parameters, statistics, step, optimizer, seed and data position.

    Raises:
        Exception: whatever Orbax raises on a checkpoint that cannot be read.
    """
    result = hashlib.sha256()
    for part in ("model", "training"):
        for path, array in jax.tree.leaves_with_path(_arrays(checkpoint / part)):
            about = f"{part}{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
            result.update(about.encode() + array.tobytes())
    result.update((checkpoint / "data" / "metadata").read_bytes())
    return result.hexdigest()


def digests(workdir: Path) -> dict[int, str | None]:
    """Hashes each finished checkpoint, by step; None stands for one that cannot be read."""
    found: dict[int, str | None] = {}
    for step in finished_steps(epath.Path(workdir) / FOLDER):
        try:
            found[step] = digest(workdir / FOLDER / str(step))
        except Exception:  # what a damaged file raises depends on which it is
            found[step] = None
    return found


def logged(workdir: Path) -> list[dict[str, Any]]:
    """The rows of a run's log, without what depends on the time it took."""
    rows = read_rows(workdir)
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def _arrays(folder: Path) -> Any:
    with _ONE_AT_A_TIME:
        handler = ocp.PyTreeCheckpointHandler()
        path = epath.Path(folder.resolve())
        how = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(path).tree
        )
        return handler.restore(path, args=ocp.args.PyTreeRestore(restore_args=how))
