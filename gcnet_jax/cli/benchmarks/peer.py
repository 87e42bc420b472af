"""mmsegmentation, to measure beside ours where it is installed (the extra `peer`)."""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.interop import export_state_dict
from gcnet_jax.models import Segmentor


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
    if (
        section.backbone.variant != "v1c"
        or section.backbone.depth not in (50, 101)
        or section.backbone.output_stride != 8
        or section.backbone.num_stages != 4
        or section.backbone.context.block
        or context.block != "global_context"
        or not section.auxiliary_head.enabled
    ):
        return "this is no GCNet on ResNet-50 or -101 v1c at output stride 8, as mmsegmentation's"
    return None


def build_peer_model(model: Segmentor, config: ConfigDict) -> Any:
    """Builds mmsegmentation's network with the weights of ours, in evaluation mode.

    Args:
        model: built from the config.
        config: of the run, whose inference mode the peer takes as well.

    Raises:
        InputError: the weights do not fit it.
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
    weights = {name: torch.from_numpy(x.copy()) for name, x in export_state_dict(model).items()}
    mismatch = built.load_state_dict(weights, strict=False)
    lacking = [name for name in mismatch.missing_keys if "num_batches_tracked" not in name]
    if lacking or mismatch.unexpected_keys:
        raise InputError(
            "mmsegmentation's network does not take our weights: it lacks "
            f"{', '.join(lacking) or 'none'} and does not know "
            f"{', '.join(mismatch.unexpected_keys) or 'none'}"
        )
    return built.eval().to(memory_format=torch.channels_last)
