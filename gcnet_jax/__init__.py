"""Global-context networks (GCNet) for JAX and Flax NNX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcnet_jax.config import enable_compilation_cache
    from gcnet_jax.errors import InputError
    from gcnet_jax.models import functional
    from gcnet_jax.ops import normalize_images
    from gcnet_jax.tasks.runs import evaluate, load, load_model, train
    from gcnet_jax.tasks.segmentation.build_model import build_model, create_model
    from gcnet_jax.tasks.segmentation.segmentor import Segmentor

__all__ = [
    "InputError",
    "Segmentor",
    "build_model",
    "create_model",
    "enable_compilation_cache",
    "evaluate",
    "functional",
    "load",
    "load_model",
    "normalize_images",
    "train",
]

# JAX takes seconds to import, and a command that shows its help needs none of it.
_MODULES = {
    "InputError": "gcnet_jax.errors",
    "Segmentor": "gcnet_jax.tasks.segmentation.segmentor",
    "build_model": "gcnet_jax.tasks.segmentation.build_model",
    "create_model": "gcnet_jax.tasks.segmentation.build_model",
    "enable_compilation_cache": "gcnet_jax.config",
    "evaluate": "gcnet_jax.tasks.runs",
    "functional": "gcnet_jax.models",
    "load": "gcnet_jax.tasks.runs",
    "load_model": "gcnet_jax.tasks.runs",
    "normalize_images": "gcnet_jax.ops",
    "train": "gcnet_jax.tasks.runs",
}


def __getattr__(name: str) -> Any:
    """Finds a public name in its module, once it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module 'gcnet_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists what there is, imported or not."""
    return sorted({*globals(), *__all__})
