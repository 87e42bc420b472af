"""How fast a detector trains: whole and by part, beside torchvision's where that takes turns."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import jax
import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from benchmarks.comparison import OURS
from benchmarks.detection_peer import check_agreement
from benchmarks.detection_table import TORCHVISION, in_turn, print_parts
from benchmarks.detection_training_parts import (
    BACKBONE,
    BOX_FEATURES,
    BOX_HEAD,
    HEAD,
    DetectorTrainingParts,
)
from benchmarks.detection_training_peer import TorchvisionTraining, why_not_torchvisions
from benchmarks.detection_weights import add_in_blocks, spread_proposals
from benchmarks.memory import device_name, print_memory
from benchmarks.scenes import draw_scene
from gcnet_jax.cli.timing import CONSOLE
from gcnet_jax.errors import InputError
from gcnet_jax.models import frozen_parameters
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.detector import Detector
from gcnet_jax.tasks.detection.task import TASK as detection
from gcnet_jax.tasks.detection.weights import FOREIGN
from gcnet_jax.training.optimizer import create_optimizer
from gcnet_jax.training.program import ProgramMemory, TrainingProgram

WHOLE = "whole step"
FROZEN_NORMS = "whole step, frozen norms"
"""Beside torchvision's as it is used: scales and shifts of its norms are not trained, ours are."""
_OBJECTS = 60
"""In an image. About each there are several proposals, so that as many regions are positive as the
settings allow: less would spare torchvision work, and not us."""
_LEAST_SIDE = 16
_LEARNING_RATE = 1e-6
"""So small that all steps work through the same proposals."""
_LARGEST_LOSS_DEVIATION = 0.01
"""Relative deviation of losses of the same anchors and regions: masks are rounded in ours alone."""


def measure_detection_training(
    config: ConfigDict, *, num_classes: int, rounds: int, peer: bool
) -> dict[str, Any]:
    """Measures, prints and returns what training steps of a detector take, and each part of them.

    Images are drawn scenes of the largest shape that the config trains on. Weights are random, with
    a proposal head that spreads as a trained one does, and objects lie where it has proposals.

    Args:
        config: of the run, with one stage of heads and with masks.
        num_classes: of objects.
        rounds: how often each is measured, after a first time.
        peer: whether torchvision's Mask R-CNN and its parts take turns. Ours then learns with
            torchvision's losses of boxes and assignment of regions.

    Raises:
        InputError: the detector has several stages or no masks, there are several devices; or
            torchvision has no such network, or does not compute the same.
    """
    check_measurable(config, peer=peer)
    config = config.copy_and_resolve_references()
    config.optimizer.learning_rate, config.optimizer.warmup_steps = _LEARNING_RATE, 0
    if peer:
        config.model.rpn.train.smooth_l1_beta = config.model.box_head.train.smooth_l1_beta = 1 / 9
        config.model.box_head.train.low_quality_matches = False
    loads = [os.getloadavg()]
    program = TrainingProgram(detection, config, ObjectClasses.numbered(num_classes))
    model: Any = program.fresh_model()
    batch = draw_batch(model, program, num_classes)
    with CONSOLE.status("compiling the step"):
        compiled = program.step.lower(*program.shapes).compile()
    with CONSOLE.status("compiling the parts"):
        optimizer = create_optimizer(
            config.optimizer, config.training.total_steps, frozen=frozen_parameters(model)
        )
        ours = DetectorTrainingParts(model, batch, optimizer)
    step = _Step(compiled, program.initial_state(model), batch)
    parts: dict[str, dict[str, Callable[[], Any]]] = {WHOLE: {OURS: step.take}}
    result: dict[str, Any] = {"facts": {OURS: ours.facts()}, "losses": {OURS: ours.losses}}
    of_peer: Mapping[str, Callable[[], Any]] = {}
    if peer:
        theirs, frozen = (_torchvision(config, model, batch, frozen_norms=x) for x in (False, True))
        for each in (theirs, frozen):
            _check_peer(ours, each)
        result["facts"][TORCHVISION] = theirs.facts()
        result["losses"][TORCHVISION] = theirs.losses_of(ours)
        parts[WHOLE][TORCHVISION] = theirs.step
        parts[FROZEN_NORMS] = {OURS: step.take, TORCHVISION: frozen.step}
        of_peer = theirs.parts
    for name, part in ours.parts.items():
        parts[name] = {OURS: part} | ({TORCHVISION: of_peer[name]} if peer else {})
    rows = [row for name, ways in parts.items() for row in in_turn(name, ways, rounds)]
    loads.append(os.getloadavg())
    images, height, width = batch["image"].shape[:3]
    print_parts(
        f"{rounds} steps of {images} images of {height}x{width} in {config.model.dtype} on "
        f"{device_name()}",
        rows,
    )
    for way, facts in result["facts"].items():
        counts = ", ".join(f"{count:g} {what}" for what, count in facts.items())
        CONSOLE.print(f"in an image, {way}: {counts}")
    median = rows[0]["seconds"]["median"]
    CONSOLE.print(
        f"{images / median:.3g} images/s; processes that wanted a core: {loads[0][0]:.1f} before, "
        f"{loads[1][0]:.1f} after"
    )
    memory = ProgramMemory.of(compiled)
    print_memory(memory)
    return {
        "device": device_name(),
        "batch_size": images,
        "size": [height, width],
        "rounds": rounds,
        "load_averages": loads,
        "memory": {**memory._asdict(), "peak": memory.peak},
        "rows": rows,
        **result,
        "config": config.to_dict(),
    }


class _Step:
    """Training steps one after the other."""

    def __init__(self, run: Callable[..., Any], state: Any, batch: Mapping[str, jax.Array]):
        self._run, self._state, self._batch = run, state, batch
        self.take()

    def take(self) -> dict[str, Any]:
        """Takes a step to its end, and returns its metrics."""
        self._state, metrics = jax.block_until_ready(self._run(self._state, self._batch))
        return metrics


def check_measurable(config: ConfigDict, *, peer: bool) -> None:
    """Raises InputError as `measure_detection_training`, but of what is computed."""
    model = config.model
    if len(model.box_head.center_stds) != 1 or not model.mask_head.enabled:
        raise InputError(
            "`train` measures Mask R-CNN; expected the config of a detector with one stage of "
            "heads, and masks"
        )
    if peer and (reason := why_not_torchvisions(model.backbone, model.dtype)):
        raise InputError(f"--peer=torchvision: {reason}")
    if jax.device_count() > 1:
        raise InputError(
            f"`train` measures detectors by part, on one device; JAX has {jax.device_count()} "
            "(CUDA_VISIBLE_DEVICES=0 leaves one of several GPUs)"
        )
    if config.training.accumulation_steps > 1:
        raise InputError(
            "`train` measures detectors by part; expected training.accumulation_steps 1, not "
            f"{config.training.accumulation_steps}"
        )


def draw_batch(model: Detector, program: TrainingProgram, num_classes: int) -> dict[str, jax.Array]:
    """Makes a batch of the largest shape, and weights by which objects are where proposals are."""
    shapes = program.shapes[1]
    count, height, width = shapes["image"].shape[:3]
    images = np.stack([draw_scene(index, (height, width)).image for index in range(count)])
    sizes = np.array([[height, width]] * count, np.int32)
    add_in_blocks(model)

    @jax.jit
    def levels_of(model: Detector, images: jax.Array, sizes: jax.Array) -> Any:
        return model.rpn(model.pyramid(normalize_images(images, sizes), sizes))

    spread_proposals(model, levels_of(model, images, sizes))
    proposals = jax.jit(lambda model, *x: model.propose(*x, model.settings.training_proposals))(
        model, levels_of(model, images, sizes), sizes
    )
    model.train()
    room = shapes["boxes"].shape[1]
    rng = np.random.default_rng(0)
    boxes = np.zeros((count, room, 4), np.float32)
    masks = np.zeros((count, room, height, width // 8), np.uint8)
    valid = np.zeros((count, room), bool)
    for image, proposed in enumerate(np.asarray(proposals.boxes)):
        large = ((proposed[:, 2:] - proposed[:, :2]) >= _LEAST_SIDE).all(axis=1)
        rows = rng.permutation(np.flatnonzero(large & np.asarray(proposals.valid[image])))
        chosen = proposed[rows[: min(_OBJECTS, room)]]
        boxes[image, : len(chosen)], valid[image, : len(chosen)] = chosen, True
        for index, box in enumerate(chosen):
            masks[image, index] = np.packbits(_ellipse(box, (height, width)), axis=-1)
    batch = {
        "image": images,
        "size": sizes,
        "boxes": boxes,
        "classes": rng.integers(0, num_classes, valid.shape, np.int32),
        "valid": valid,
        "masks": masks,
    }
    return {key: jax.device_put(x, shapes[key].sharding) for key, x in batch.items()}


def _ellipse(box: Float[np.ndarray, "4"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    drawn = np.zeros(size, np.uint8)
    centre, axes = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    cv2.ellipse(drawn, centre.astype(int).tolist(), axes.astype(int).tolist(), 0, 0, 360, 1, -1)
    return drawn.astype(bool)


def _torchvision(
    config: ConfigDict, model: Detector, batch: Mapping[str, jax.Array], *, frozen_norms: bool
) -> TorchvisionTraining:
    settings = config.optimizer
    with CONSOLE.status("torchvision's first step"):
        theirs = TorchvisionTraining(
            FOREIGN.export_state_dict(model),
            model.settings,
            {key: np.asarray(x) for key, x in batch.items()},
            frozen_stages=config.model.backbone.frozen_stages,
            frozen_norms=frozen_norms,
            optimizer={
                "lr": settings.learning_rate,
                "momentum": settings.momentum,
                "weight_decay": settings.weight_decay,
            },
        )
        theirs.step()
    return theirs


def _check_peer(ours: DetectorTrainingParts, theirs: TorchvisionTraining) -> None:
    """Raises InputError unless torchvision's networks and losses are ours."""
    pairs = {
        f"map {level} of the pyramid": (mine, other.permute(0, 2, 3, 1))
        for level, (mine, other) in enumerate(
            zip(ours.outputs[BACKBONE][0], theirs.outputs[BACKBONE], strict=True)
        )
    }
    logits, _ = theirs.outputs[HEAD]
    pairs |= {
        f"proposal head on map {level}": (mine.logits, other.permute(0, 2, 3, 1))
        for level, (mine, other) in enumerate(zip(ours.outputs[HEAD][0], logits, strict=True))
    }
    logits, deltas = theirs.box_head(np.asarray(ours.outputs[BOX_FEATURES][0]))
    mine, my_deltas = ours.outputs[BOX_HEAD][1]
    pairs["box head, classes"] = mine[:, :-1], logits[:, 1:]
    pairs["box head, boxes"] = my_deltas.reshape(len(my_deltas), -1), deltas[:, 4:]
    check_agreement(pairs)
    for name, loss in theirs.losses_of(ours).items():
        if not abs(ours.losses[name] - loss) <= _LARGEST_LOSS_DEVIATION * loss:
            raise InputError(
                f"{name} is {ours.losses[name]:.4f} here and {loss:.4f} in torchvision: they do "
                "not compute the same"
            )
