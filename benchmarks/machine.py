"""The machine that something is measured on."""

import contextlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

_PACKAGES_OF_PEERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {"openmmlab": ("mmcv-lite", "mmsegmentation"), "torchvision": ("torchvision",)}
)


def describe_machine(peer: str | None) -> dict[str, str]:
    """What figures depend on beside the code that is measured.

    Args:
        peer: what takes turns, if anything.

    Returns:
        The processor, and the versions of Python and of packages, by their names.
    """
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [x for x in information.read_text().splitlines() if x.startswith("model name")]
        processor = models[0].partition(":")[2].strip() if models else processor
    packages = ["jax", "numpy", "opencv-python-headless"]
    if peer is not None:
        packages += ["torch", *_PACKAGES_OF_PEERS[peer]]
    return {"processor": processor, "python": platform.python_version()} | _versions(packages)


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of those packages that are installed: of a peer not all need be."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
