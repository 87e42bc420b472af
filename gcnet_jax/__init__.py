"""Global-context networks (GCNet) for JAX and Flax NNX."""

from gcnet_jax.errors import InputError
from gcnet_jax.models import Segmentor, build_model, create_model, functional
from gcnet_jax.ops import normalize_images
from gcnet_jax.pretrained import load_model

__all__ = [
    "InputError",
    "Segmentor",
    "build_model",
    "create_model",
    "functional",
    "load_model",
    "normalize_images",
]
