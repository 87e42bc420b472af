"""How fast exported files run beside the network that they are of, on this machine's CPU."""

import dataclasses
import importlib.util
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath
from jaxtyping import UInt8
from ml_collections import ConfigDict

from benchmarks.comparison import (
    LEAST_AGREEMENT,
    OURS,
    PEER,
    compare,
    print_tables,
    table,
    with_spread,
)
from benchmarks.inference import OurInference
from benchmarks.memory import device_name
from benchmarks.peer import import_peer
from benchmarks.peer_export import write_peer_onnx
from benchmarks.peer_steps import PeerInference
from gcnet_jax.analysis import image_cost
from gcnet_jax.cli.timing import CONSOLE, steps_in_a_row
from gcnet_jax.errors import InputError
from gcnet_jax.export.exported_file import write_exported
from gcnet_jax.export.network_files import read_programs, stablehlo_file
from gcnet_jax.export.onnx_models import OnnxProgram, write_onnx
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.exported_programs import CLASSES, EXPORT

STABLEHLO = "the StableHLO file"
ONNX_RUNTIME, OPENVINO = "the ONNX file, onnxruntime", "the ONNX file, OpenVINO"
PEER_ONNX_RUNTIME = f"{PEER}'s ONNX file, onnxruntime"

Pixels = UInt8[np.ndarray, "b h w 3"]
Classes = UInt8[np.ndarray, "b h w"]


def measure_export(
    config: ConfigDict,
    *,
    num_classes: int,
    size: tuple[int, int],
    images: int,
    rounds: int,
    peer: bool,
) -> dict[str, Any]:
    """Measures, prints and returns how long a batch takes in exported files, in turn with ours.

    Images are of random pixels; weights are random. What runs ONNX models is left out where it is
    not installed.

    Args:
        config: of a segmentor's run, which sees images whole.
        num_classes: of the network.
        size: (height, width) of the images; multiples of 64.
        images: in the batch.
        rounds: how often the batch is measured, after a first time.
        peer: whether mmsegmentation's test step takes turns, and in onnxruntime an ONNX model of
            its network.

    Raises:
        InputError: a file does not say what the network says, nothing can be exported, or there is
            no such peer here.
    """
    batch = np.random.default_rng(0).integers(0, 256, (images, *size, 3), np.uint8)
    ours = OurInference(config, num_classes, batch)
    model = build_model(config.model, num_classes=num_classes, seed=config.seed)
    ways: dict[str, Any] = {OURS: ours}
    with tempfile.TemporaryDirectory() as folder, CONSOLE.status("exporting"):
        for name, run in _files(model, config, num_classes, size, epath.Path(folder)).items():
            ways[name] = Timed(name, run, batch, ours.classes, config.model.dtype)
        if peer:
            ways |= _peers(config, num_classes, batch, ours.classes, epath.Path(folder))
    result = compare(
        ways,
        rounds=rounds,
        images=images,
        flops=2 * images * image_cost(model, size),
        dtype=config.model.dtype,
    )
    _print(
        result["rows"],
        f"{rounds} batches of {images} images of {size[0]}x{size[1]} in {config.model.dtype} on "
        f"{device_name()}",
    )
    return {"size": list(size), "images": images, "config": config.to_dict(), **result}


def _print(rows: list[dict[str, Any]], title: str) -> None:
    peers_file = any(row["way"] == PEER_ONNX_RUNTIME for row in rows)
    beside = [OURS, PEER_ONNX_RUNTIME] if peers_file else [OURS]
    headings = {OURS: "times ours", PEER_ONNX_RUNTIME: "times theirs in ONNX"}
    speed = table(title, ("step, s", "images/s", *(headings[name] for name in beside)))
    for row in rows:
        times = [row["times_as_fast_as"].get(name) for name in beside]
        speed.add_row(
            row["way"],
            with_spread(row["step_seconds"]),
            with_spread(row["images_per_second"]),
            *(with_spread(x) if x else "" for x in times),
        )
    print_tables(speed)


def _files(
    model: Any, config: ConfigDict, num_classes: int, size: tuple[int, int], folder: epath.Path
) -> dict[str, Callable[[Pixels], Any]]:
    """What runs each exported file that can be written and run here, by name."""
    graphdef, variables = split_for_evaluation(model)
    program = EXPORT.programs(graphdef, config)[CLASSES]
    meaning = DatasetClasses.numbered(num_classes)
    content = stablehlo_file(
        {CLASSES: program},
        variables,
        config,
        meaning,
        source=folder,
        seen=EXPORT.seen_in_words(config),
        tell=lambda _: None,
    )
    write_exported(folder / "network.gcnet", content)
    of_file = read_programs(folder / "network.gcnet")[CLASSES]

    def by_jax(images: Pixels) -> Any:
        return of_file(images, np.full((len(images), 2), size))[CLASSES]

    ways: dict[str, Callable[[Pixels], Any]] = {STABLEHLO: by_jax}
    if not _onnx_is_installed():
        return ways
    onnx = folder / "network.onnx"
    write_onnx(onnx, dataclasses.replace(program, takes_sizes=False), variables, size, {})
    by_onnxruntime = OnnxProgram(onnx)
    ways[ONNX_RUNTIME] = lambda images: by_onnxruntime(images)[CLASSES]
    if importlib.util.find_spec("openvino") is not None:
        import openvino  # pyright: ignore[reportMissingImports]

        # By default it computes in bfloat16 where the processor can.
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        by_openvino = openvino.Core().compile_model(str(onnx), "CPU", exact)
        ways[OPENVINO] = lambda images: by_openvino([images])[0]
    return ways


def _onnx_is_installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("jax2onnx", "onnxruntime"))


def _peers(
    config: ConfigDict, num_classes: int, batch: Pixels, classes: Classes, folder: epath.Path
) -> dict[str, Any]:
    """The network of mmsegmentation in PyTorch, and its ONNX model where that can be run."""
    eager = PeerInference(config, num_classes, batch)
    eager.check_classes(classes)
    ways: dict[str, Any] = {PEER: eager}
    if _onnx_is_installed():
        write_peer_onnx(folder / "peer.onnx", eager.network, import_peer("torch").from_numpy(batch))
        program = OnnxProgram(folder / "peer.onnx")
        ways[PEER_ONNX_RUNTIME] = Timed(
            PEER_ONNX_RUNTIME,
            lambda images: program(images)[CLASSES],
            batch,
            classes,
            config.model.dtype,
        )
    return ways


class Timed:
    """A way to take a batch to classes, run once before it counts.

    Raises:
        InputError: it does not say what our network says.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Pixels], Any],
        batch: Pixels,
        expected: Classes,
        dtype: str,
    ):
        self._run, self._batch = run, batch
        agreement = float((np.asarray(run(batch)) == expected).mean())
        if agreement < LEAST_AGREEMENT[dtype]:
            raise InputError(
                f"{name} says the same of {agreement:.2%} of the pixels; expected at least "
                f"{LEAST_AGREEMENT[dtype]:.1%}"
            )

    def seconds(self) -> float:
        """Takes the batch through, `steps_in_a_row` times, and returns how long each took."""
        steps, start = steps_in_a_row(), time.perf_counter()
        jax.block_until_ready([self._run(self._batch) for _ in range(steps)])
        return (time.perf_counter() - start) / steps
