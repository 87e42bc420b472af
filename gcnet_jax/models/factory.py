"""From the sections of a config to backbones and context blocks."""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from flax import nnx
from jaxtyping import DTypeLike
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.models.residual_blocks import ContextPlacement
from gcnet_jax.models.resnet import ResNet
from gcnet_jax.nn import (
    ContextBlock,
    GlobalContext,
    NonLocal,
    SimplifiedNonLocal,
    SqueezeExcite,
)

CONTEXT_BLOCKS: Mapping[str, type[ContextBlock]] = MappingProxyType(
    {
        "global_context": GlobalContext,
        "non_local": NonLocal,
        "simplified_non_local": SimplifiedNonLocal,
        "squeeze_excite": SqueezeExcite,
    }
)
"""The context blocks by what a config calls them."""

_CONTEXT = "model.backbone.context"


def build_backbone(
    config: ConfigDict, *, dtype: DTypeLike, rngs: nnx.Rngs, context_rngs: nnx.Rngs
) -> ResNet:
    """Builds the backbone that the section `model.backbone` of a config describes.

    Args:
        config: the section.
        dtype: of the computation.
        rngs: of the initialisation.
        context_rngs: of that of the context blocks. With a stream of their own, all other weights
            start the same with and without blocks.

    Raises:
        InputError: a value is not among those allowed, or a block cannot be imported.
    """
    options = dict(config)
    context, placement = options.pop("context"), None
    if block := context_block_maker(context, _CONTEXT, dtype, context_rngs):
        placement = ContextPlacement(
            block, context.position, context.stages, context.residual_blocks
        )
    try:
        return ResNet(**options, context=placement, dtype=dtype, rngs=rngs)
    except InputError as error:
        if str(error).startswith(_CONTEXT):  # of a block, which names its own section
            raise
        raise InputError(f"model.backbone: {error}") from error


def context_block_maker(
    config: ConfigDict, key: str, dtype: DTypeLike, rngs: nnx.Rngs
) -> Callable[[int], ContextBlock] | None:
    """Returns what makes a context block for a number of channels as a config's section says.

    Args:
        config: the section.
        key: of the section, for messages.
        dtype: of the computation.
        rngs: of the initialisation.

    Returns:
        The function; None if the section says that there is no block.

    Raises:
        InputError: the block's code cannot be imported; made blocks raise it for wrong values.
    """
    if not config.block:
        return None
    block_class, options = _block_class(config.block, key), config.get(config.block) or {}

    def make(channels: int) -> ContextBlock:
        try:
            return block_class(channels, **options, dtype=dtype, rngs=rngs)
        except InputError as error:
            raise InputError(f"{key}.{config.block}: {error}") from error

    return make


def _block_class(name: str, key: str) -> Callable[..., ContextBlock]:
    """The class of a context block, of this library or, as `module:Class`, of somebody's own."""
    if name in CONTEXT_BLOCKS:
        return CONTEXT_BLOCKS[name]
    module, _, class_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), class_name)
    except Exception as error:  # a module is code: anything can go wrong in it
        raise InputError(f"{key}.block is {name!r}, which cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, ContextBlock)):
        raise InputError(f"{key}.block is {name!r}, which is no gcnet_jax.nn.ContextBlock")
    return found
