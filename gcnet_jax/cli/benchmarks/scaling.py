"""What training would be like on many chips: computed from the compiled step, not measured."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import rich.console
import rich.table
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

from gcnet_jax.analysis import (
    ASSUMED,
    CHIPS,
    Chip,
    Collective,
    carrying,
    read_collectives,
    step_time,
)
from gcnet_jax.cli.timing import CONSOLE
from gcnet_jax.errors import InputError
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.segmentation.training_program import TrainingProgram

NUMBERS_OF_CHIPS = (8, 64, 512)
_SIMULATED = 8
"""Devices that the step is compiled for, where no topology is given."""


def compute_scaling(
    config: ConfigDict,
    *,
    num_classes: int,
    images_a_chip: Sequence[int],
    image_size: tuple[int, int],
    topology: str | None,
) -> dict[str, Any]:
    """Compiles training steps, and prints and returns what they would cost on many chips.

    The steps are compiled for simulated CPU devices, or for TPUs that are only described. Floating
    point operations are counted in the step's trace; collectives are read from the compiled
    program; times are computed as `gcnet_jax.analysis.scaling` says.

    Args:
        config: of the run, with data parallelism alone.
        num_classes: of the network.
        images_a_chip: crops of a step on each chip.
        image_size: (height, width) of the stored images.
        topology: TPUs to compile for, such as `v5e:2x4`; needs the package `libtpu`.

    Raises:
        InputError: the config does not compute in bfloat16, splits images or spreads parameters; or
            there is no such topology.
    """
    if config.model.dtype != "bfloat16":
        raise InputError(
            f"model.dtype is {config.model.dtype!r}; the chips' figures are those for bfloat16: "
            "add --config.model.dtype=bfloat16"
        )
    if config.parallel.spatial > 1 or config.parallel.fsdp:
        raise InputError("parallel.spatial and parallel.fsdp are set; expected neither")
    mesh = _mesh(topology)
    kind = mesh.devices.flat[0].device_kind
    meant = {name: chip for name, chip in CHIPS.items() if not topology or chip.kind == kind}
    if not meant:
        raise InputError(f"--topology={topology} has devices of the kind {kind}: not known here")
    programs, rows = [], []
    for images in images_a_chip:
        program, collectives = _compile(config, num_classes, images, mesh)
        programs.append(program)
        for name, chip in meant.items():
            for chips in NUMBERS_OF_CHIPS:
                rows.append(_row(program, collectives, name, chip, chips, image_size))
    _print_programs(programs, mesh)
    _print_rows(rows, image_size)
    _print_published(config.training.batch_size)
    return {
        "computed_not_measured": True,
        "assumed": ASSUMED._asdict(),
        "chips": {name: vars(chip) for name, chip in meant.items()},
        "image_size": list(image_size),
        "config": config.to_dict(),
        "programs": programs,
        "rows": rows,
    }


def _mesh(topology: str | None) -> Mesh:
    if topology is None:
        jax.config.update("jax_num_cpu_devices", _SIMULATED)
        return create_mesh(jax.devices("cpu"))
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except Exception as error:  # of many kinds: no libtpu, no such topology
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--topology={topology} cannot be compiled for ({reason}); expected one such as "
            "v5e:2x4, and the package libtpu: pip install -e '.[tpu]'"
        ) from error
    return create_mesh(described.devices)


def _compile(
    config: ConfigDict, num_classes: int, images: int, mesh: Mesh
) -> tuple[dict[str, Any], list[Collective]]:
    config = config.copy_and_resolve_references()
    config.training.batch_size = images * mesh.size
    CONSOLE.print(f"compiling a step of {images} crops a chip; this takes minutes")
    start = time.perf_counter()
    program = TrainingProgram(config, num_classes, mesh)
    compiled = program.compile()
    text = compiled.run.as_text()
    assert text is not None  # CPUs and TPUs have one
    collectives = read_collectives(text)
    large = carrying(collectives, 0.9)
    row = {
        "images_a_chip": images,
        "batch_size": config.training.batch_size,
        "compiled_for": f"{mesh.size} x {mesh.devices.flat[0].device_kind}",
        "compile_seconds": time.perf_counter() - start,
        "flops_a_chip": 2 * program.multiply_adds() / mesh.size,
        "parameter_bytes": 4 * sum(x.size for x in jax.tree.leaves(program.shapes[0].params)),
        "all_reduces": sum(collective.times for collective in collectives),
        "all_reduced_bytes": sum(collective.total_bytes for collective in collectives),
        "carrying_90_percent": len(large),
        "memory": {**compiled.memory._asdict(), "peak": compiled.memory.peak},
        "memory_traffic": None,
    }
    if mesh.devices.flat[0].platform == "tpu":  # programs for CPUs read and write other amounts
        row["memory_traffic"] = (compiled.run.cost_analysis() or {}).get("bytes accessed")
    return row, collectives


def _row(
    program: Mapping[str, Any],
    collectives: Sequence[Collective],
    name: str,
    chip: Chip,
    chips: int,
    image_size: tuple[int, int],
) -> dict[str, Any]:
    images = program["images_a_chip"]
    seconds = step_time(
        program["flops_a_chip"],
        collectives,
        chips,
        chip,
        memory_traffic=program["memory_traffic"] or 0.0,
    )
    a_host = min(chips, chip.chips_a_host) * images / seconds.overlapped
    height, width = image_size
    return {
        "chip": name,
        "chips": chips,
        "images_a_chip": images,
        "batch_size": images * chips,
        "compute_seconds": seconds.compute,
        "gradients_seconds": seconds.gradients,
        "statistics_seconds": seconds.statistics,
        "step_seconds": seconds.one_after_another,
        "step_seconds_overlapped": seconds.overlapped,
        "efficiency": seconds.efficiency(overlapped=False),
        "efficiency_overlapped": seconds.efficiency(overlapped=True),
        "images_a_second": chips * images / seconds.overlapped,
        "images_a_second_a_host": a_host,
        # RGB and a label, a byte each, as records hold them with --pixels=uncompressed
        "bytes_a_second_a_host": a_host * height * width * 4,
    }


def _print_programs(programs: Sequence[Mapping[str, Any]], mesh: Mesh) -> None:
    table = rich.table.Table(
        title=f"a step on each chip, as compiled for {programs[0]['compiled_for']}",
        title_justify="left",
    )
    headings = ("crops", "TFLOP", "all-reduced, MB", "in", "90% in", "GiB", "read, written, GB")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in programs:
        table.add_row(
            str(row["images_a_chip"]),
            f"{row['flops_a_chip'] / 1e12:.2f}",
            f"{row['all_reduced_bytes'] / 1e6:.1f}",
            str(row["all_reduces"]),
            str(row["carrying_90_percent"]),
            f"{row['memory']['peak'] / 2**30:.2f}",
            "-" if row["memory_traffic"] is None else f"{row['memory_traffic'] / 1e9:.1f}",
        )
    rich.console.Console().print(table)
    if mesh.devices.flat[0].platform == "cpu":
        print("Memory is that of the program for CPUs; accelerators need other amounts.")


def _print_rows(rows: Sequence[Mapping[str, Any]], image_size: tuple[int, int]) -> None:
    table = rich.table.Table(
        title="computed, not measured; *: gradients are sent behind the computation",
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("chips", no_wrap=True)
    times = ("ms", "eff.", "ms*", "eff.*")
    for heading in ("crops", "batch", *times, "a host: images/s*", "MB/s*"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row['chips']} {row['chip']}",
            str(row["images_a_chip"]),
            str(row["batch_size"]),
            f"{1000 * row['step_seconds']:.1f}",
            f"{row['efficiency']:.0%}",
            f"{1000 * row['step_seconds_overlapped']:.1f}",
            f"{row['efficiency_overlapped']:.0%}",
            f"{row['images_a_second_a_host']:.0f}",
            f"{row['bytes_a_second_a_host'] / 1e6:.0f}",
        )
    rich.console.Console().print(table)
    height, width = image_size
    print(
        f"Assumed: {ASSUMED.utilization:.0%} of the makers' peak FLOP/s; a message takes "
        f"{1e6 * ASSUMED.latency_seconds:.0f} us, and a collective those up and down a tree of the "
        f"chips; records of {height}x{width} uncompressed pixels."
    )


def _print_published(batch_size: int) -> None:
    """What the config's own batch means on these numbers of chips."""
    divides = [chips for chips in NUMBERS_OF_CHIPS if batch_size % chips == 0]
    for chips in divides:
        print(f"The config's batch of {batch_size} is {batch_size // chips} a chip on {chips}.")
    if others := [str(chips) for chips in NUMBERS_OF_CHIPS if chips not in divides]:
        print(
            f"The config's batch of {batch_size} does not divide over {' and '.join(others)} "
            "chips, and `gcnet train` refuses it there: data parallelism needs a crop a chip."
        )
