"""How fast a detector takes images to boxes, classes and masks: whole, by part and by operator."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.comparison import OURS
from benchmarks.detection_operators import Amounts, operators
from benchmarks.detection_parts import NETWORKS, DetectorParts
from benchmarks.detection_peer import TorchvisionParts, check_agreement
from benchmarks.detection_table import TORCHVISION, in_turn, print_parts
from benchmarks.memory import device_name
from benchmarks.scenes import draw_scene
from gcnet_jax.cli.timing import CONSOLE
from gcnet_jax.errors import InputError
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.detector import DIVISOR
from gcnet_jax.tasks.detection.weights import FOREIGN

WHOLE = "whole, to masks of boxes"


def measure_detection(
    config: ConfigDict,
    *,
    num_classes: int,
    size: tuple[int, int],
    batches: Sequence[int],
    rounds: int,
    peer: bool,
) -> dict[str, Any]:
    """Measures, prints and returns how long a detector takes, and what of it each part takes.

    Images are drawn scenes, normalised and on the device; weights are random, with outputs spread
    as those of trained networks are (see `DetectorParts`).

    Args:
        config: of the run, with one stage of heads and with masks.
        num_classes: of objects.
        size: (height, width) of the images, which are padded to multiples of 32.
        batches: images at once, one measurement each.
        rounds: how often each is measured, after a first time.
        peer: whether torchvision's Mask R-CNN and its operators take turns.

    Raises:
        InputError: the detector has several stages or no masks; or torchvision has no such network,
            or does not compute the same.
    """
    model = config.model
    is_detector = "box_head" in model and "mask_head" in model
    if not is_detector or len(model.box_head.center_stds) != 1 or not model.mask_head.enabled:
        raise InputError(
            "`detect` measures Mask R-CNN; expected the config of a detector with one stage of "
            "heads, and masks"
        )
    loads = [os.getloadavg()]
    results = []
    for images in batches:
        results.append(
            _measure_batch(
                config, num_classes=num_classes, size=size, images=images, rounds=rounds, peer=peer
            )
        )
    amounts = Amounts(
        size,
        config.model.neck.channels,
        regions=config.model.rpn.test.max_per_image,
        sampled_regions=config.model.box_head.train.samples,
        per_level=config.model.rpn.test.nms_pre,
        classes=num_classes,
        detections=config.model.test.max_per_image,
    )
    of_operators = _measure_operators(amounts, rounds=rounds, peer=peer)
    loads.append(os.getloadavg())
    CONSOLE.print(
        f"processes that wanted a core: {loads[0][0]:.1f} before, {loads[1][0]:.1f} after"
    )
    return {
        "device": device_name(),
        "size": list(size),
        "rounds": rounds,
        "load_averages": loads,
        "batches": results,
        "operators": of_operators,
        "config": config.to_dict(),
    }


def _measure_batch(
    config: ConfigDict,
    *,
    num_classes: int,
    size: tuple[int, int],
    images: int,
    rounds: int,
    peer: bool,
) -> dict[str, Any]:
    height, width = size
    padded = [-(-x // DIVISOR) * DIVISOR for x in size]
    batch = np.zeros((images, *padded, 3), np.float32)
    for index in range(images):
        image = jnp.asarray(draw_scene(index, size).image)
        batch[index, :height, :width] = normalize_images(image[None])[0]
    sizes = np.array([size] * images)
    model = build_model(config.model, num_classes=num_classes, seed=config.seed)
    with CONSOLE.status(f"compiling the parts, for {images} images"):
        ours = DetectorParts(model, batch, sizes)
    ways: dict[str, Mapping[str, Callable[[], Any]]] = {OURS: {WHOLE: ours.whole, **ours.parts}}
    theirs = None
    if peer:
        with CONSOLE.status("torchvision's first batch"):
            theirs = TorchvisionParts(
                FOREIGN.export_state_dict(model), model.settings, batch, sizes
            )
        _check_peer(ours, theirs)
        ways[TORCHVISION] = {WHOLE: theirs.whole, **theirs.parts}
    rows = [
        row | {"is_network": name in NETWORKS}
        for name in ways[OURS]
        for row in in_turn(name, {way: parts[name] for way, parts in ways.items()}, rounds)
    ]
    result = {
        "images": images,
        "facts": ours.facts(),
        "share_of_rest": {way: _share_of_rest(rows, way) for way in ways},
        "rows": rows,
    }
    if theirs is not None:
        result["facts_of_torchvision"] = theirs.facts()
    shares = ", ".join(f"{x:.1%} of {way}'s" for way, x in result["share_of_rest"].items())
    print_parts(
        f"{rounds} batches of {images} images of {height}x{width} on {device_name()}; neither "
        f"convolutions nor matrix products: {shares}",
        rows,
    )
    return result


def _measure_operators(amounts: Amounts, *, rounds: int, peer: bool) -> list[dict[str, Any]]:
    rows = []
    with CONSOLE.status("compiling the operators"):
        made = operators(amounts, peer=peer)
    for name, operator in made.items():
        ways = {OURS: operator.ours}
        if operator.theirs is not None:
            ways[TORCHVISION] = operator.theirs
        rows += [row | {"facts": operator.facts} for row in in_turn(name, ways, rounds)]
    print_parts(f"operators, {rounds} rounds on {device_name()}", rows)
    return rows


def _share_of_rest(rows: Sequence[Mapping[str, Any]], way: str) -> float:
    """What is neither convolutions nor matrix products, of the sum of the parts."""
    parts = [row for row in rows if row["way"] == way and row["part"] != WHOLE]
    rest = [row["seconds"]["median"] for row in parts if not row["is_network"]]
    return sum(rest) / sum(row["seconds"]["median"] for row in parts)


def _check_peer(ours: DetectorParts, theirs: TorchvisionParts) -> None:
    """Raises InputError unless every network of torchvision's computes the same."""
    maps = theirs.outputs["backbone and pyramid"].values()
    pairs = {
        f"map {level} of the pyramid": (mine, other.permute(0, 2, 3, 1))
        for level, (mine, other) in enumerate(
            zip(ours.outputs["backbone and pyramid"].maps, maps, strict=True)
        )
    }
    logits, _ = theirs.outputs["proposal head"]
    pairs |= {
        f"proposal head on map {level}": (mine.logits, other.permute(0, 2, 3, 1))
        for level, (mine, other) in enumerate(
            zip(ours.outputs["proposal head"], logits, strict=True)
        )
    }
    logits, deltas = theirs.box_head(np.asarray(ours.outputs["RoIAlign of boxes"]))
    mine, my_deltas = ours.outputs["box head"]
    pairs["box head, classes"] = mine[:, :-1], logits[:, 1:]
    pairs["box head, boxes"] = my_deltas.reshape(len(my_deltas), -1), deltas[:, 4:]
    logits = theirs.mask_head(np.asarray(ours.outputs["RoIAlign of masks"]))
    classes = np.asarray(ours.outputs["detections"][2]).reshape(-1)
    mine = ours.outputs["mask head"]
    of_classes = logits[np.arange(len(classes)), classes + 1].sigmoid()
    pairs["mask head"] = mine.reshape(of_classes.shape), of_classes
    check_agreement(pairs)
