"""What context blocks attend to, what they cost, and what each of their parts is worth."""

from gcnet_jax.analysis.cost import multiply_adds, parameter_count
from gcnet_jax.analysis.variants import VARIANTS, Variant, select_variant

__all__ = ["VARIANTS", "Variant", "multiply_adds", "parameter_count", "select_variant"]
