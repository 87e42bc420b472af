"""How fast a network trains, what a step computes, and the memory that its program needs."""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.comparison import (
    OURS,
    PEER,
    PEER_COMPILED,
    compare,
    compiled_anew,
    print_speed,
)
from benchmarks.memory import device_name, print_memory
from benchmarks.peer_steps import PeerTraining
from gcnet_jax.cli.timing import CONSOLE, TimedStep
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.program import TrainingProgram


def measure_training(
    config: ConfigDict, *, num_classes: int, rounds: int, peer: bool
) -> dict[str, Any]:
    """Measures, prints and returns what training steps of a config's batch and crop take.

    The batch is of random pixels, already on the devices; weights are random. FLOPs are twice the
    multiply-adds of convolutions and matrix products in the step's trace, of the forward and the
    backward pass, as `gcnet_jax.analysis.multiply_adds` counts them: for the model without what is
    computed again (`remat_stages`), for the step with it. The peak that they are compared with is
    that of a large matrix product, measured in turn with the steps.

    Args:
        config: of the run.
        num_classes: of the network.
        rounds: steps measured, after a first one.
        peer: whether mmsegmentation's step takes turns, on GPUs also under torch.compile.

    Raises:
        InputError: the batch does not divide over the devices; or there is no such peer here, or it
            does not compute the same.
    """
    program = TrainingProgram(segmentation, config, DatasetClasses.numbered(num_classes))
    peers = _peers(program, config, num_classes) if peer else {}
    with CONSOLE.status("compiling"), compiled_anew():
        compiled = program.compile()
    with CONSOLE.status("the first step"):
        step = TimedStep(program, compiled)
    for each in peers.values():
        each.check_loss(step.first_loss)

    plain = config.copy_and_resolve_references()
    plain.model.backbone.remat_stages = ()
    images = config.training.batch_size
    result = compare(
        {OURS: step, **peers},
        rounds=rounds,
        images=images,
        flops=2
        * TrainingProgram(
            segmentation, plain, DatasetClasses.numbered(num_classes)
        ).multiply_adds(),
        dtype=config.model.dtype,
    )
    ours, *of_peers = result["rows"]
    ours |= {
        "trace_seconds": compiled.trace_seconds,
        "compile_seconds": compiled.compile_seconds,
        "step_flops": 2 * program.multiply_adds(),
        "memory": {**compiled.memory._asdict(), "peak": compiled.memory.peak},
    }
    for row in of_peers:
        row |= peers[row["way"]].description(row["step_seconds"]["median"])
    height, width = config.data.crop_size
    print_speed(
        result,
        f"{rounds} steps of {images} crops of {height}x{width} in {config.model.dtype} on "
        f"{device_name()}",
    )
    print_memory(compiled.memory)
    return {
        "device": device_name(),
        "devices": jax.device_count(),
        "batch_size": images,
        "crop_size": [height, width],
        "rounds": rounds,
        "config": config.to_dict(),
        **result,
    }


def _peers(
    program: TrainingProgram, config: ConfigDict, num_classes: int
) -> dict[str, PeerTraining]:
    if config.training.accumulation_steps > 1:
        raise InputError(
            "--peer=openmmlab: mmsegmentation's batch is worked through in one piece; expected "
            f"training.accumulation_steps 1, not {config.training.accumulation_steps}"
        )
    batch = {key: np.asarray(x) for key, x in program.random_batch().items()}
    with CONSOLE.status("mmsegmentation's first step"):
        peers = {PEER: PeerTraining(config, num_classes, batch)}
        if jax.default_backend() == "gpu":
            peers[PEER_COMPILED] = PeerTraining(config, num_classes, batch, compiled=True)
    return peers
