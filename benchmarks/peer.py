"""mmsegmentation, to measure beside ours where it is installed (the extra `peer`)."""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.segmentor import Segmentor
from gcnet_jax.tasks.segmentation.weights import FOREIGN


def peer_is_installed() -> bool:
    """Whether mmsegmentation can be measured here."""
    return importlib.util.find_spec("mmseg") is not None


def import_peer(module: str) -> Any:
    """A module of OpenMMLab's or PyTorch, with or without the compiled operators of mmcv.

    mmsegmentation imports them all, also where it calls none, and mmcv-lite has none.
    """
    if importlib.util.find_spec("mmcv._ext") is None:
        operators = _Operators("mmcv._ext")
        operators.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)
        sys.modules["mmcv._ext"] = operators
    # What OpenMMLab warns of concerns itself: old names of its own functions, shapes it converts.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"mmseg|mmengine")
    return importlib.import_module(module)


class _Operators(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def operator(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"mmcv's operator {name} was called, but mmcv-lite has none")

        return operator


def why_no_peer(config: ConfigDict) -> str | None:
    """Says why mmsegmentation's network cannot be measured beside that of a config, if so."""
    section = config.model
    context = section.decode_head.context
    if not peer_is_installed():
        return "mmsegmentation is not installed"
    backbone = section.backbone
    as_theirs = {
        "backbone.variant": backbone.variant == "v1c",
        "backbone.depth": backbone.depth in (50, 101),
        "backbone.output_stride": backbone.output_stride == 8,
        "backbone.num_stages": backbone.num_stages == 4,
        "backbone.context.block": not backbone.context.block,
        "decode_head.context.block": context.block == "global_context",
        "auxiliary_head.enabled": section.auxiliary_head.enabled,
    }
    if others := [f"model.{key}" for key, same in as_theirs.items() if not same]:
        return (
            "this is no GCNet on ResNet-50 or -101 v1c at output stride 8, as mmsegmentation's: "
            f"see {', '.join(others)}"
        )
    return None


def peer_device(peer: str = "openmmlab") -> str:
    """PyTorch's name of the kind of device that JAX has, so that both are measured on the same.

    Args:
        peer: as `--peer` names it.

    Raises:
        InputError: PyTorch finds none of that kind.
    """
    backend = jax.default_backend()
    if backend == "cpu":
        return "cpu"
    if backend == "gpu" and import_peer("torch").cuda.is_available():
        return "cuda"
    raise InputError(
        f"--peer={peer}: JAX computes on a {backend}, which this PyTorch cannot "
        "(JAX_PLATFORMS=cpu compares on the CPU)"
    )


def peer_autocast(config: ConfigDict) -> contextlib.AbstractContextManager:
    """What PyTorch's network runs under: autocast for a config of bfloat16."""
    torch = import_peer("torch")
    enabled = config.model.dtype == "bfloat16"
    return torch.autocast(peer_device(), dtype=torch.bfloat16, enabled=enabled)


def build_peer_model(model: Segmentor, config: ConfigDict) -> Any:
    """Builds mmsegmentation's network with the weights of ours, in evaluation mode.

    It is on `peer_device`, with channels last; on GPUs cuDNN may try its algorithms.

    Args:
        model: built from the config.
        config: of the run, whose inference mode the peer takes as well.

    Raises:
        InputError: the weights do not fit it, or PyTorch lacks the device.
    """
    torch, mmseg = import_peer("torch"), import_peer("mmseg")
    import_peer("mmseg.utils").register_all_modules()
    configs = Path(mmseg.__file__).parent / ".mim" / "configs" / "_base_" / "models"
    peer = import_peer("mmengine").Config.fromfile(configs / "gcnet_r50-d8.py").model
    section = config.model
    peer.pretrained = None
    peer.backbone.depth = section.backbone.depth
    peer.backbone.base_channels = peer.backbone.stem_channels = section.backbone.base_channels
    num_classes = model.decode_head.classifier.kernel.shape[-1]
    for head, ours in (
        (peer.decode_head, section.decode_head),
        (peer.auxiliary_head, section.auxiliary_head),
    ):
        head.channels, head.num_classes = ours.channels, num_classes
        head.in_channels = model.backbone.stage_channels[ours.stage]
        head.in_index, head.align_corners = ours.stage, section.align_corners
    peer.decode_head.ratio = section.decode_head.context.global_context.ratio
    peer.test_cfg = {"mode": config.evaluation.mode}
    if config.evaluation.mode == "slide":
        peer.test_cfg["crop_size"] = tuple(config.evaluation.window)
        peer.test_cfg["stride"] = tuple(config.evaluation.window_stride)
    built = import_peer("mmseg.registry").MODELS.build(peer)
    built = import_peer("mmengine.model").revert_sync_batchnorm(built)
    # Copies, for PyTorch warns of arrays that cannot be written.
    weights = {
        name: torch.from_numpy(x.copy()) for name, x in FOREIGN.export_state_dict(model).items()
    }
    mismatch = built.load_state_dict(weights, strict=False)
    lacking = [name for name in mismatch.missing_keys if "num_batches_tracked" not in name]
    if lacking or mismatch.unexpected_keys:
        raise InputError(
            "mmsegmentation's network does not take our weights: it lacks "
            f"{', '.join(lacking) or 'none'} and does not know "
            f"{', '.join(mismatch.unexpected_keys) or 'none'}"
        )
    torch.backends.cudnn.benchmark = True
    return built.eval().to(peer_device(), memory_format=torch.channels_last)
