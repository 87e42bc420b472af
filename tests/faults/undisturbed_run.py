"""The undisturbed run, which every other is compared with."""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gcnet_jax.errors import InputError
from tests.faults.digests import digests, logged
from tests.faults.jobs import TRAIN, Job, training_commands

TOTAL_STEPS = 40
DATA_SETS: Mapping[str, str] = MappingProxyType(
    {
        "segmentation": "context_shapes",
        "classification": "context_scenes",
        "detection": "context_objects",
    }
)
"""The data set that each task is harmed on."""
_CONFIGS = {
    "segmentation": "context_shapes/gcnet.py",
    "classification": "context_scenes/gcnet.py",
    "detection": "instances/mask-rcnn_nuclei.py:context_objects",
}
_OF_TASKS = {
    "segmentation": {"model.decode_head.channels": 8},
    "classification": {
        "model.backbone.num_stages": 1,
        "model.backbone.context.stages": (0,),
        "optimizer.warmup_steps": 5,
    },
    "detection": {
        "data.base_scale": (64, 32),
        "model.backbone.num_stages": 1,
        "model.backbone.context.stages": (0,),
        "model.neck.channels": 8,
        "model.rpn.channels": 8,
        "model.rpn.train.max_per_image": 20,
        "model.rpn.test.max_per_image": 20,
        "model.box_head.channels": 8,
        "model.box_head.train.samples": 16,
        "model.mask_head.channels": 8,
        "model.mask_head.convolutions": 1,
        "model.test.max_per_image": 8,
        "optimizer.warmup_steps": 5,
    },
}
_SETTINGS = {
    "model.backbone.base_channels": 8,
    "training.total_steps": TOTAL_STEPS,
    "training.batch_size": 4,
    "training.log_every": 1,
    "training.evaluate_every": 20,
    "training.checkpoint_every": 5,
    "evaluation.batch_size": 20,
}


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a run without faults has done.

    Attributes:
        states: the digest of its state after each step.
        rows: of its log.
        launch_seconds: how long it took to its first step.
    """

    states: dict[int, str]
    rows: list[dict[str, Any]]
    launch_seconds: float


def training_arguments(task: str, workdir: Path, data_dir: Path, **settings: object) -> list[str]:
    """The arguments of `scripts/train.py` for the smallest run of a task that there is.

    Args:
        task: what is learnt.
        workdir: of the run.
        data_dir: where the data set is prepared.
        settings: further keys of the config, with `__` for the dot.
    """
    further = {k.replace("__", "."): value for k, value in settings.items()}
    of_config = _SETTINGS | _OF_TASKS[task] | further
    return [
        f"--config={Path(__file__).parents[2] / 'configs' / _CONFIGS[task]}",
        *(f"--config.{key}={value}" for key, value in of_config.items()),
        f"--config.data.data_dir={data_dir}",
        f"--workdir={workdir}",
    ]


def reference_run(
    task: str, folder: Path, data_dir: Path, processes: int, environment: dict[str, str]
) -> Reference:
    """Trains without faults, twice; what an earlier call has found in the same folder is taken.

    Raises:
        InputError: a run fails, or the two differ.
    """
    path = folder / "reference.json"
    if path.exists():
        stored = json.loads(path.read_text())
        stored["states"] = {int(step): state for step, state in stored["states"].items()}
        return Reference(**stored)
    folder.mkdir(parents=True, exist_ok=True)
    # One with a checkpoint of every step, to compare with; one as those with faults are.
    every_step = {"training__checkpoint_every": 1, "training__keep_newest": TOTAL_STEPS}
    _undisturbed(task, folder / "every_step", data_dir, processes, environment, **every_step)
    seconds = _undisturbed(task, folder / "plain", data_dir, processes, environment)
    states, plain = digests(folder / "every_step"), digests(folder / "plain")
    unreadable = [step for step in range(1, TOTAL_STEPS + 1) if states.get(step) is None]
    if unreadable or any(state != states[step] for step, state in plain.items()):
        raise InputError(
            f"two undisturbed runs in {processes} process(es) differ, see {folder}: there is "
            "nothing to compare with"
        )
    rows = logged(folder / "plain")
    if rows != logged(folder / "every_step"):
        raise InputError(f"the logs of two undisturbed runs differ, see {folder}")
    found = Reference({k: v for k, v in states.items() if v is not None}, rows, seconds)
    path.write_text(json.dumps(dataclasses.asdict(found)))
    return found


def _undisturbed(
    task: str,
    workdir: Path,
    data_dir: Path,
    processes: int,
    environment: dict[str, str],
    **settings: object,
) -> float:
    """Trains without faults; returns the seconds to the first step."""
    arguments = training_arguments(task, workdir, data_dir, **settings)
    job = Job(training_commands(arguments, [[str(TRAIN)]] * processes), environment, workdir)
    first_step = None
    try:
        while job.running():
            if first_step is None and job.steps():
                first_step = time.monotonic() - job.begun
            time.sleep(0.02)
    finally:
        job.end()
    for process in job.processes:
        if process.status != 0:
            raise InputError(
                f"an undisturbed run ended with exit status {process.status}: "
                f"{process.errors.strip()[-2000:]}"
            )
    return first_step or time.monotonic() - job.begun
