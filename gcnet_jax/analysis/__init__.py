"""What context blocks attend to and are worth, and what networks cost."""

from gcnet_jax.analysis.attention_maps import AttentionMap, AttentionMaps, positions_seen
from gcnet_jax.analysis.cost import image_cost, parameter_count
from gcnet_jax.analysis.heat_maps import heat_bar, heat_overlay
from gcnet_jax.analysis.published_ablation import PAPER_ROWS, PAPER_SIZE, PaperRow
from gcnet_jax.analysis.query_independence import Distances, query_distances
from gcnet_jax.analysis.variants import VARIANTS, Variant, select_variant
from gcnet_jax.models import context_blocks
from gcnet_jax.ops.multiply_adds import multiply_adds, traced_multiply_adds

__all__ = [
    "PAPER_ROWS",
    "PAPER_SIZE",
    "VARIANTS",
    "AttentionMap",
    "AttentionMaps",
    "Distances",
    "PaperRow",
    "Variant",
    "context_blocks",
    "heat_bar",
    "heat_overlay",
    "image_cost",
    "multiply_adds",
    "parameter_count",
    "positions_seen",
    "query_distances",
    "select_variant",
    "traced_multiply_adds",
]
