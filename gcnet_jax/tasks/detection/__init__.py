"""Detection of objects and their masks: Mask R-CNN and Cascade Mask R-CNN with fixed shapes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcnet_jax.tasks.detection.loading import load_detector

__all__ = ["load_detector"]


def __getattr__(name: str) -> Any:
    """Finds a public name once it is asked for: to read a config takes no JAX."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gcnet_jax.tasks.detection import loading

    return getattr(loading, name)
