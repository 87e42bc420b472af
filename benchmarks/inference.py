"""How fast a network takes images to classes, and the memory that its program needs."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, UInt8
from ml_collections import ConfigDict

from benchmarks.comparison import (
    OURS,
    PEER,
    PEER_COMPILED,
    compare,
    compiled_anew,
    print_speed,
)
from benchmarks.memory import device_name
from benchmarks.peer_steps import PeerInference
from gcnet_jax.analysis import image_cost
from gcnet_jax.cli.timing import CONSOLE, steps_in_a_row
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import (
    check_batch_size,
    compile_for,
    create_mesh,
    on_each_device,
    replicated,
    shard_batch,
)
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.training.program import ProgramMemory


def measure_inference(
    config: ConfigDict,
    *,
    num_classes: int,
    size: tuple[int, int],
    images: int,
    rounds: int,
    peer: bool,
) -> dict[str, Any]:
    """Measures, prints and returns how long a batch takes from 8-bit pixels to classes.

    Images are of random pixels and already on the devices; weights are random. The network sees
    them whole; logits are resized to the images' size before each pixel gets its class.

    Args:
        config: of the run.
        num_classes: of the network.
        size: (height, width) of the images.
        images: in the batch.
        rounds: how often the batch is measured, after a first time.
        peer: whether mmsegmentation's test step takes turns, on GPUs also under torch.compile.

    Raises:
        InputError: the batch does not divide over the devices; or there is no such peer here, or it
            does not compute the same.
    """
    batch = np.random.default_rng(0).integers(0, 256, (images, *size, 3), np.uint8)
    peers = _peers(config, num_classes, batch) if peer else {}
    ours = OurInference(config, num_classes, batch)
    for each in peers.values():
        each.check_classes(ours.classes)
    model = build_model(config.model, num_classes=num_classes, seed=config.seed)
    result = compare(
        {OURS: ours, **peers},
        rounds=rounds,
        images=images,
        flops=2 * images * image_cost(model, size),
        dtype=config.model.dtype,
    )
    row, *of_peers = result["rows"]
    row |= ours.description()
    for row in of_peers:
        row |= peers[row["way"]].description(row["step_seconds"]["median"])
    print_speed(
        result,
        f"{rounds} batches of {images} images of {size[0]}x{size[1]} in {config.model.dtype} on "
        f"{device_name()}",
    )
    return {
        "device": device_name(),
        "devices": jax.device_count(),
        "size": list(size),
        "images": images,
        "rounds": rounds,
        "config": config.to_dict(),
        **result,
    }


class OurInference:
    """One program for the batch, spread over all devices; run once before it counts.

    Attributes:
        classes: of the pixels.
    """

    def __init__(self, config: ConfigDict, num_classes: int, batch: UInt8[np.ndarray, "b h w 3"]):
        mesh = create_mesh()
        check_batch_size(len(batch), mesh, key="--images")
        model = build_model(config.model, num_classes=num_classes, seed=config.seed)
        graphdef, variables = split_for_evaluation(model)
        self._images = shard_batch(batch, mesh)
        self._variables = jax.device_put(variables, replicated(mesh))

        def classes(variables: PyTree, images: UInt8[Array, "b h w 3"]) -> Int[Array, "b h w"]:
            logits = merge(graphdef, variables)(normalize_images(images))
            return jnp.argmax(logits, axis=-1)

        start = time.perf_counter()
        with CONSOLE.status("compiling"), compiled_anew():
            program = compile_for(mesh, on_each_device(mesh, classes))
            self._run = program.lower(self._variables, self._images).compile()
        self._compile_seconds = time.perf_counter() - start
        self.classes = np.asarray(self._run(self._variables, self._images))

    def seconds(self) -> float:
        """Takes the batch through, `steps_in_a_row` times, and returns how long each took."""
        steps, start = steps_in_a_row(), time.perf_counter()
        classes = [self._run(self._variables, self._images) for _ in range(steps)]
        jax.block_until_ready(classes)
        return (time.perf_counter() - start) / steps

    def description(self) -> dict[str, Any]:
        """Returns the seconds to compile and the memory, by the names of the peer's."""
        memory = ProgramMemory.of(self._run)
        return {
            "compile_seconds": self._compile_seconds,
            "memory": {**memory._asdict(), "peak": memory.peak},
        }


def _peers(
    config: ConfigDict, num_classes: int, batch: UInt8[np.ndarray, "b h w 3"]
) -> dict[str, PeerInference]:
    with CONSOLE.status("mmsegmentation's first batch"):
        peers = {PEER: PeerInference(config, num_classes, batch)}
        if jax.default_backend() == "gpu":
            peers[PEER_COMPILED] = PeerInference(config, num_classes, batch, compiled=True)
    return peers
