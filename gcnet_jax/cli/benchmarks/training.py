"""How fast a network trains, what a step computes, and the memory that its program needs."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import rich.console
import rich.progress
import rich.table
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from gcnet_jax.cli.benchmarks.memory import GIB, device_name
from gcnet_jax.cli.step_time import TimedStep, median_and_spread
from gcnet_jax.cli.training_program import CompiledStep, TrainingProgram

_CONSOLE = rich.console.Console(stderr=True)


def measure_training(config: ConfigDict, *, num_classes: int, rounds: int) -> dict[str, Any]:
    """Measures, prints and returns what training steps of a config's batch and crop take.

    The batch is of random pixels, already on the devices; weights are random. FLOPs are twice the
    multiply-adds of convolutions and matrix products in the step's trace, of the forward and the
    backward pass, as `gcnet_jax.analysis.multiply_adds` counts them: for the model without what is
    computed again (`remat_stages`), for the step with it.

    Args:
        config: of the run.
        num_classes: of the network.
        rounds: steps measured, after a first one.

    Raises:
        InputError: the batch does not divide over the devices.
    """
    rows = [_our_row(config, num_classes, rounds)]
    _print(rows, config, rounds)
    return {
        "device": device_name(),
        "devices": jax.device_count(),
        "batch_size": config.training.batch_size,
        "crop_size": list(config.data.crop_size),
        "rounds": rounds,
        "config": config.to_dict(),
        "rows": rows,
    }


def _our_row(config: ConfigDict, num_classes: int, rounds: int) -> dict[str, Any]:
    program = TrainingProgram(config, num_classes)
    with _CONSOLE.status("compiling"), _compiled_anew():
        compiled = program.compile()
    with _CONSOLE.status("the first step"):
        step = TimedStep(program, compiled)
    track = rich.progress.track(range(rounds), "measuring", console=_CONSOLE)
    seconds = [step.seconds() for _ in track]
    plain = config.copy_and_resolve_references()
    plain.model.backbone.remat_stages = ()
    model_flops = 2 * TrainingProgram(plain, num_classes).multiply_adds()
    return {
        "way": "gcnet_jax",
        "trace_seconds": compiled.trace_seconds,
        "compile_seconds": compiled.compile_seconds,
        "step_seconds": median_and_spread(seconds)._asdict(),
        "seconds_of_rounds": seconds,
        "images_per_second": median_and_spread(
            [config.training.batch_size / x for x in seconds]
        )._asdict(),
        "model_flops": model_flops,
        "step_flops": 2 * program.multiply_adds(),
        "model_flops_per_second_and_device": median_and_spread(
            [model_flops / x / jax.device_count() for x in seconds]
        )._asdict(),
        "memory": _memory_of(compiled),
    }


def _memory_of(compiled: CompiledStep) -> dict[str, int]:
    """Bytes on each device by part, and their sum."""
    return {**compiled.memory._asdict(), "peak": compiled.memory.peak}


@contextlib.contextmanager
def _compiled_anew() -> Iterator[None]:
    """Takes no program from the cache, so that compilation is what it is the first time."""
    enabled = jax.config.values["jax_enable_compilation_cache"]
    try:
        _use_cache(False)
        yield
    finally:
        _use_cache(enabled)


def _use_cache(enabled: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", enabled)
    compilation_cache.reset_cache()  # the setting is read once, when a cache is opened


def _print(rows: Sequence[dict[str, Any]], config: ConfigDict, rounds: int) -> None:
    height, width = config.data.crop_size
    speed = _table(
        f"{rounds} steps of {config.training.batch_size} crops of {height}x{width} in "
        f"{config.model.dtype} on {device_name()}; model GFLOPs of a step, and GFLOP/s a device",
        ("compile, s", "step, s", "images/s", "GFLOPs", "GFLOP/s"),
    )
    memory = _table(
        f"memory of the step as compiled for {device_name()}, GiB a device",
        [part if part != "aliased" else "- aliased" for part in rows[0]["memory"]],
    )
    for row in rows:
        speed.add_row(
            row["way"],
            f"{row['compile_seconds']:.1f}",
            _with_spread(row["step_seconds"]),
            _with_spread(row["images_per_second"]),
            f"{row['model_flops'] / 1e9:.4g}",
            _with_spread(row["model_flops_per_second_and_device"], unit=1e9),
        )
        memory.add_row(row["way"], *(f"{x / GIB:.3f}" for x in row["memory"].values()))
    rich.console.Console().print(speed, memory, sep="\n")


def _table(title: str, headings: Sequence[str]) -> rich.table.Table:
    table = rich.table.Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("way", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _with_spread(value: dict[str, float], unit: float = 1) -> str:
    return f"{value['median'] / unit:.4g} ± {value['spread'] / unit:.2g}"
