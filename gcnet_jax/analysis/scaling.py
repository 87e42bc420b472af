"""How long a training step would take on many chips: computed, under a simple model.

A chip computes for FLOPs / (peak x utilisation), or for as long as its memory needs to bring what
the program reads and writes, if that is known and longer. Gradients are then summed by all-reduces
in rings, within the chips that fast links join and, where that is not all of them, across. Batch
statistics are all-reduces too, small ones, which cost the time of messages up and down a tree of
the chips. Nothing of this is measured.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gcnet_jax.analysis.collectives import Collective, carrying
from gcnet_jax.errors import InputError


class Assumptions(NamedTuple):
    """What nobody has told or measured.

    Attributes:
        utilization: share of a chip's peak that convolutions reach.
        latency_seconds: of a message from one chip to another, beside the time of its bytes.
        backward_share: of the computation, what gradients can be sent behind: they are made on the
            way back.
    """

    utilization: float
    latency_seconds: float
    backward_share: float


ASSUMED = Assumptions(utilization=0.4, latency_seconds=2e-6, backward_share=2 / 3)
_GRADIENTS_SHARE = 0.95  # of all bytes: the rest is statistics


@dataclasses.dataclass(frozen=True)
class Chip:
    """What its maker says of an accelerator.

    Attributes:
        kind: as JAX calls it.
        peak_flops: a second, in bfloat16, without sparsity.
        memory_bandwidth: bytes a second from and to its own memory.
        chips_a_host: as they are commonly sold.
        fast_group: chips that fast links join.
        fast_bandwidth: bytes a second that a chip sends over its fast links together.
        slow_bandwidth: bytes a second that a chip sends to other groups.
        source: where the maker says so.
    """

    kind: str
    peak_flops: float
    memory_bandwidth: float
    chips_a_host: int
    fast_group: int
    fast_bandwidth: float
    slow_bandwidth: float
    source: str


CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        # 400 GB/s in both directions together; the data centre's network has 6.4 Tbit/s a pod.
        "TPU v5e": Chip(
            kind="TPU v5 lite",
            peak_flops=197e12,
            memory_bandwidth=819e9,
            chips_a_host=4,
            fast_group=256,
            fast_bandwidth=200e9,
            slow_bandwidth=6.4e12 / 8 / 256,
            source="cloud.google.com/tpu/docs/v5e",
        ),
        # 1200 GB/s in both directions together; 50 Gbit/s a chip on the data centre's network.
        "TPU v5p": Chip(
            kind="TPU v5",
            peak_flops=459e12,
            memory_bandwidth=2765e9,
            chips_a_host=4,
            fast_group=6144,
            fast_bandwidth=600e9,
            slow_bandwidth=50e9 / 8,
            source="cloud.google.com/tpu/docs/v5p",
        ),
        # NVLink has 900 GB/s in both directions together; a DGX H100 has 400 Gbit/s a GPU outwards.
        "H100 SXM": Chip(
            kind="NVIDIA H100 80GB HBM3",
            peak_flops=989e12,
            memory_bandwidth=3.35e12,
            chips_a_host=8,
            fast_group=8,
            fast_bandwidth=450e9,
            slow_bandwidth=400e9 / 8,
            source="nvidia.com: datasheets of H100 and DGX H100",
        ),
    }
)


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Computed seconds of a training step, by part.

    Attributes:
        compute: of the chip's own work.
        gradients: of the large all-reduces' bytes.
        statistics: of the small collectives' bytes, and of the latency of all.
    """

    compute: float
    gradients: float
    statistics: float

    @property
    def one_after_another(self) -> float:
        """The step, if chips compute nothing while they send."""
        return self.compute + self.gradients + self.statistics

    @property
    def overlapped(self) -> float:
        """The step, if gradients are sent while the earlier layers' are computed."""
        behind = ASSUMED.backward_share * self.compute
        return self.compute + max(self.gradients - behind, 0.0) + self.statistics

    def efficiency(self, *, overlapped: bool) -> float:
        """Images a second and chip, relative to a chip that works alone."""
        return self.compute / (self.overlapped if overlapped else self.one_after_another)


def all_reduce_seconds(size: float, chips: int, chip: Chip) -> float:
    """Seconds of a ring all-reduce of `size` bytes over so many chips, latency left out.

    In a group of n chips that fast links join, each sends 2 (n - 1) / n of the bytes. Where there
    are several groups, each chip then has the sum of 1 / n of the bytes within its group, and sums
    that with the chips of its place in the other groups.
    """
    group = min(chips, chip.fast_group)
    groups = math.ceil(chips / group)
    within = 2 * (group - 1) / group * size / chip.fast_bandwidth
    return within + 2 * (groups - 1) / groups * (size / group) / chip.slow_bandwidth


def latency_seconds(chips: int) -> float:
    """Seconds of an all-reduce of no bytes: up and down a binary tree of the chips."""
    return 2 * math.ceil(math.log2(chips)) * ASSUMED.latency_seconds


def step_time(
    flops_a_chip: float,
    collectives: Sequence[Collective],
    chips: int,
    chip: Chip,
    *,
    memory_traffic: float = 0.0,
) -> StepTime:
    """Computed seconds of a step on many chips.

    Args:
        flops_a_chip: floating point operations of a step on each chip.
        collectives: of the step's program over any number of chips more than one, all of them
            all-reduces over all chips: their bytes do not depend on how many there are.
        chips: how many there are.
        chip: their kind.
        memory_traffic: bytes that each chip reads and writes in a step, if the chip's own compiler
            has said.

    Raises:
        InputError: the program has other collectives.
    """
    if others := {collective.kind for collective in collectives} - {"all-reduce"}:
        raise InputError(
            f"the model of scaling knows all-reduces alone; the program has {sorted(others)}, as "
            "parallel.spatial and parallel.fsdp bring: leave these at their defaults"
        )
    compute = max(
        flops_a_chip / (chip.peak_flops * ASSUMED.utilization),
        memory_traffic / chip.memory_bandwidth,
    )
    if chips == 1:
        return StepTime(compute, 0.0, 0.0)
    total = sum(collective.total_bytes for collective in collectives)
    large = carrying(collectives, _GRADIENTS_SHARE)
    of_large = sum(collective.total_bytes for collective in large)
    latency = latency_seconds(chips) * sum(collective.times for collective in collectives)
    return StepTime(
        compute,
        all_reduce_seconds(of_large, chips, chip),
        all_reduce_seconds(total - of_large, chips, chip) + latency,
    )
