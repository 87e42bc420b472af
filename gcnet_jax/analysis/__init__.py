"""What context blocks attend to and are worth, and what networks cost, on one chip and on many."""

from gcnet_jax.analysis.collectives import Collective, carrying, read_collectives, summarize
from gcnet_jax.analysis.cost import (
    image_cost,
    multiply_adds,
    parameter_count,
    traced_multiply_adds,
)
from gcnet_jax.analysis.paper import PAPER_ROWS, PAPER_SIZE, PaperRow
from gcnet_jax.analysis.query_independence import Distances, query_distances
from gcnet_jax.analysis.recording import block_inputs, context_blocks
from gcnet_jax.analysis.scaling import (
    ASSUMED,
    CHIPS,
    Chip,
    StepTime,
    all_reduce_seconds,
    latency_seconds,
    step_time,
)
from gcnet_jax.analysis.variants import VARIANTS, Variant, select_variant

__all__ = [
    "ASSUMED",
    "CHIPS",
    "PAPER_ROWS",
    "PAPER_SIZE",
    "VARIANTS",
    "Chip",
    "Collective",
    "Distances",
    "PaperRow",
    "StepTime",
    "Variant",
    "all_reduce_seconds",
    "block_inputs",
    "carrying",
    "context_blocks",
    "image_cost",
    "latency_seconds",
    "multiply_adds",
    "parameter_count",
    "query_distances",
    "read_collectives",
    "select_variant",
    "step_time",
    "summarize",
    "traced_multiply_adds",
]
