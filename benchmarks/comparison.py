"""What is compared takes turns in one process; its speed beside the machine's, and the table."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import DTypeLike

from gcnet_jax.cli.timing import Timed, measure_in_turn, median_and_spread

OURS = "gcnet_jax"
PEER, PEER_COMPILED = "mmsegmentation", "mmsegmentation, torch.compile"
_WIDTH = 120
"""Columns of text where there is no terminal."""
LEAST_AGREEMENT: Mapping[str, float] = MappingProxyType({"float32": 0.999, "bfloat16": 0.95})
"""Share of pixels that must go to the same class, by what networks compute in: rounding decides
ties."""
_PRODUCT = "matrix product"
_SECONDS_OF_PRODUCTS = 0.05
"""Products in one measurement take at least about that long."""


def compare(
    ways: Mapping[str, Timed], *, rounds: int, images: int, flops: int, dtype: str
) -> dict[str, Any]:
    """Measures ways to do the same in turn, and with them the machine's matrix product.

    Args:
        ways: by name.
        rounds: how often each is done.
        images: in each round.
        flops: operations of the network in each round, whatever a way makes of it.
        dtype: that the network computes in.

    Returns:
        `measured_peak_flops`, and a row for each way: seconds, images and model FLOPs a second, as
        medians and spreads; the share of the peak; and how many times as fast each is as each
        other, round by round.
    """
    product = _MatrixProduct(dtype)
    seconds = measure_in_turn({_PRODUCT: product, **ways}, rounds)
    peak = median_and_spread([product.flops / x for x in seconds.pop(_PRODUCT)])
    rows = []
    for name, times in seconds.items():
        rate = median_and_spread([flops / x / jax.device_count() for x in times])
        row = {
            "way": name,
            "seconds_of_rounds": times,
            "step_seconds": median_and_spread(times)._asdict(),
            "images_per_second": median_and_spread([images / x for x in times])._asdict(),
            "model_flops": flops,
            "model_flops_per_second_and_device": rate._asdict(),
            "share_of_peak": rate.median / peak.median,
            "times_as_fast_as": times_as_fast(seconds, name),
        }
        rows.append(row)
    return {"measured_peak_flops": peak._asdict(), "rows": rows}


def times_as_fast(seconds: Mapping[str, Sequence[float]], name: str) -> dict[str, dict[str, float]]:
    """How many times as fast as each other a way is, round by round: median and spread."""
    return {
        other: median_and_spread(np.divide(times, seconds[name]).tolist())._asdict()
        for other, times in seconds.items()
        if other != name
    }


class _MatrixProduct:
    """A large matrix product on one device, whose rate is taken for the peak of the device.

    Args:
        dtype: of the matrices. Products of float32 have whatever precision JAX gives them by
            default, as those of the network do.
    """

    def __init__(self, dtype: DTypeLike):
        edge = 2048 if jax.default_backend() == "cpu" else 8192
        self._operands = [
            jax.random.normal(jax.random.key(seed), (edge, edge), dtype) for seed in (0, 1)
        ]
        self._product = jax.jit(jnp.matmul)
        self._times = 1
        self.seconds()
        self._times = max(1, round(_SECONDS_OF_PRODUCTS / self.seconds()))
        self.flops = 2 * edge**3 * self._times

    def seconds(self) -> float:
        """Returns the seconds of one round, see `Timed`."""
        start = time.perf_counter()
        product = None
        for _ in range(self._times):
            product = self._product(*self._operands)
        jax.block_until_ready(product)  # a device computes one after the other
        return time.perf_counter() - start


@contextlib.contextmanager
def compiled_anew() -> Iterator[None]:
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


def print_speed(result: Mapping[str, Any], title: str) -> None:
    """Prints what `compare` returned, whose rows have been given `compile_seconds`."""
    rows = result["rows"]
    speed = table(title, ("compile, s", "step, s", "images/s", f"times {PEER}"))
    rate = table(
        f"model FLOPs: {rows[0]['model_flops'] / 1e9:.4g} G a step; a large matrix product "
        f"reaches {with_spread(result['measured_peak_flops'], unit=1e9)} G/s",
        ("G/s a device", "of the product's"),
    )
    for row in rows:
        times = row["times_as_fast_as"].get(PEER)
        speed.add_row(
            row["way"],
            f"{row['compile_seconds']:.1f}",
            with_spread(row["step_seconds"]),
            with_spread(row["images_per_second"]),
            with_spread(times) if times else "",
        )
        of_device = row["model_flops_per_second_and_device"]
        rate.add_row(row["way"], with_spread(of_device, unit=1e9), f"{row['share_of_peak']:.0%}")
    print_tables(speed, rate)


def table(title: str, headings: Sequence[str]) -> rich.table.Table:
    """An empty table with a row for each way."""
    built = rich.table.Table(title=title, title_justify="left", pad_edge=False)
    built.add_column("way", no_wrap=True)
    for heading in headings:
        built.add_column(heading, justify="right", no_wrap=True)
    return built


def print_tables(*tables: rich.table.Table) -> None:
    """Prints tables one below the other; outside terminals, as wide as they are."""
    console = rich.console.Console()
    if not console.is_terminal:
        console = rich.console.Console(width=_WIDTH)
    console.print(*tables, sep="\n")


def with_spread(value: Mapping[str, float], unit: float = 1) -> str:
    """The text of a median and its spread."""
    return f"{value['median'] / unit:.4g} ± {value['spread'] / unit:.2g}"
