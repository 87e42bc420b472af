"""The variants that the ablation compares: which context block, how, and where.

Source of the selection: Cao et al. (2019), table 2, which compares blocks, positions, bottlenecks,
ratios, pooling and fusion.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from gcnet_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of an ablation.

    Attributes:
        block: what configs call the context block; "" for none.
        options: of the block, in which it differs from the config's.
        position: in the backbone; None: in the decode head.
        stages: of the backbone, counted from 0; None: those that the config names.
    """

    block: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    position: str | None = None
    stages: tuple[int, ...] | None = None


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "none": Variant(""),
        "se": Variant("squeeze_excite"),
        "nl": Variant("non_local"),
        "snl": Variant("simplified_non_local"),
        "gc": Variant("global_context"),
        "gc-multiply": Variant("global_context", {"fusion": "multiply"}),
        "gc-both": Variant("global_context", {"fusion": "both"}),
        "gc-average": Variant("global_context", {"pooling": "average"}),
        "gc-average-multiply": Variant(
            "global_context", {"pooling": "average", "fusion": "multiply"}
        ),
        "gc-average-both": Variant("global_context", {"pooling": "average", "fusion": "both"}),
        "gc-r1": Variant("global_context", {"ratio": 1.0}),
        "gc-r4": Variant("global_context", {"ratio": 1 / 4}),
        "gc-r16": Variant("global_context", {"ratio": 1 / 16}),
        "gc-relu": Variant("global_context", {"activation": "relu"}),
        "gc-linear": Variant("global_context", {"activation": "none"}),
        "gc-conv1": Variant("global_context", position="after_conv1"),
        "gc-conv2": Variant("global_context", position="after_conv2"),
        "gc-conv3": Variant("global_context", position="after_conv3"),
        "gc-add": Variant("global_context", position="after_add"),
        "gc-c3": Variant("global_context", position="after_conv3", stages=(1,)),
        "gc-c4": Variant("global_context", position="after_conv3", stages=(2,)),
        "gc-c5": Variant("global_context", position="after_conv3", stages=(3,)),
    }
)
"""Variants by name: the blocks, then GC blocks that differ in some property or place from `gc`."""


def select_variant(config: ConfigDict, name: str) -> ConfigDict:
    """Changes a run's config to a variant's and returns it.

    Raises:
        InputError: there is no variant of that name, or the config is one already.
    """
    if config.variant:
        raise InputError(
            f"this config is already that of variant {config.variant!r}; give the one that "
            "variants differ from, without an argument"
        )
    if name not in VARIANTS:
        raise InputError(f"there is no variant {name!r}; expected one of {', '.join(VARIANTS)}")
    config.variant, variant = name, VARIANTS[name]
    in_head, in_backbone = config.model.decode_head.context, config.model.backbone.context
    in_head.block = in_backbone.block = ""
    place = in_head
    if variant.position is not None:
        place = in_backbone
        place.position = variant.position
        place.stages = variant.stages if variant.stages is not None else place.stages
    place.block = variant.block
    for option, value in variant.options.items():
        place[variant.block][option] = value
    return config
