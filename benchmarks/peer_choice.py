"""The peer that a benchmark is compared with, and what has to be installed for it."""

import importlib.util
import os

from ml_collections import ConfigDict

from gcnet_jax.errors import InputError, UsageError


def is_of_detection(config: ConfigDict) -> bool:
    """Whether a config is of a detector, which has peers of its own."""
    return config.task == "detection"


def check_peer(peer: str, name: str, config: ConfigDict) -> None:
    """Checks that a peer can take turns.

    Args:
        peer: as `--peer` names it.
        name: of the benchmark.
        config: of what is measured.

    Raises:
        UsageError: the benchmark has another peer.
        InputError: the peer is not installed, or cannot be.
    """
    takes_torchvision = name == "detect" or (name == "train" and is_of_detection(config))
    if takes_torchvision and peer == "openmmlab":
        raise InputError(
            "--peer=openmmlab: mmdetection needs mmcv's compiled operators, of which PyPI has no "
            "wheels; expected --peer=torchvision"
        )
    if not takes_torchvision and peer == "torchvision":
        raise UsageError(
            "--peer=torchvision is for `detect`, and for `train` with a config of detection; "
            f"expected --peer=openmmlab for {name}"
        )
    needed = "mmcv" if is_of_detection(config) and name == "input" else peer
    installed, remedy = {
        "mmcv": ("mmcv", "mmcv is not installed; pip install '.[peer]'"),
        "openmmlab": ("mmseg", "mmsegmentation is not installed; pip install '.[peer]'"),
        "torchvision": ("torchvision", "torchvision is not installed; pip install torchvision"),
    }[needed]
    if importlib.util.find_spec(installed) is None:
        raise InputError(f"--peer={peer}: {remedy}")


def make_room_for_peer() -> None:
    """Leaves memory of a GPU to a peer; to be called before JAX looks for devices."""
    # JAX would take three quarters of a GPU's memory for itself: at once, or little by little while
    # XLA tries algorithms out, and it gives nothing back.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.4")
