"""The sections of a config that describe networks, which tasks have in common."""

from collections.abc import Collection, Mapping

from ml_collections import ConfigDict

from gcnet_jax.config.ranges import Flag, NamedOrCode, Number, OneOf, Several, Whole
from gcnet_jax.config.schema import Leaf, Section
from gcnet_jax.errors import InputError

CONTEXT_BLOCKS = ("global_context", "non_local", "simplified_non_local", "squeeze_excite")
"""What configs call the context blocks of this library."""

CHANNELS = Whole(1, 1 << 16)
"""The range of a number of channels."""
STAGE = Whole(0, 3)
"""The range of a stage of the backbone, counted from 0."""
DROPOUT = Number(0, 1, excluded=(1,))
"""The range of a share that is dropped."""
_RATIO = Number(0, 1, excluded=(0,))

DTYPE = Leaf("float32", OneOf("float32", "bfloat16"), "to compute in; bfloat16: on accelerators")
"""What networks compute in."""


def context_section(block: str, *, ratio: float) -> Section:
    """The kind of context block in a place, and what each kind takes, under the kind's name."""
    return {
        "block": Leaf(block, NamedOrCode(*CONTEXT_BLOCKS), "kind of context block in this place"),
        "global_context": {
            "ratio": Leaf(ratio, _RATIO, "channels of the bottleneck, of the block's"),
            "pooling": Leaf("attention", OneOf("attention", "average"), "how positions are pooled"),
            "fusion": Leaf("add", OneOf("add", "multiply", "both"), "how context meets features"),
            "activation": Leaf(
                "layer_norm_relu",
                OneOf("layer_norm_relu", "relu", "none"),
                "what follows the first convolution of the bottleneck",
            ),
        },
        "non_local": {
            "mode": Leaf(
                "embedded_gaussian",
                OneOf("embedded_gaussian", "gaussian", "dot_product", "concatenation"),
                "how two positions are compared",
            ),
            "reduction": Leaf(2, CHANNELS, "embeddings have so many times fewer channels"),
            "use_scale": Leaf(True, Flag(), "whether embedded_gaussian divides by a root"),
            "sub_sample": Leaf(False, Flag(), "max-pool keys and values by two first"),
        },
        "squeeze_excite": {
            "ratio": Leaf(ratio, _RATIO, "channels of the bottleneck, of the block's"),
            "gate": Leaf("hard_sigmoid", OneOf("hard_sigmoid", "sigmoid"), "function of the gate"),
        },
    }


def backbone_section(*, variant: str, output_stride: int) -> Section:
    """A ResNet with context blocks, and where they stand.

    Args:
        variant: the default of the ResNet's variant.
        output_stride: the default of how many pixels a position of the last stage stands for.
    """
    return {
        "depth": Leaf(50, OneOf(18, 34, 50, 101), "of the ResNet"),
        "variant": Leaf(variant, OneOf("v1b", "v1c", "v1d"), "of the ResNet"),
        "output_stride": Leaf(
            output_stride, OneOf(8, 16, 32), "pixels to a position of the last stage"
        ),
        "num_stages": Leaf(4, Whole(1, 4), "of the ResNet, from the first on"),
        "base_channels": Leaf(64, Whole(2, 1 << 12), "of the stem; later stages have more"),
        "groups": Leaf(1, Whole(1, 1 << 12), "of the 3x3 convolutions; with more it is a ResNeXt"),
        "base_width": Leaf(4, CHANNELS, "of each group in the first stage; doubles with each"),
        "deformable_stages": Leaf(
            (), Several(STAGE), "stages, counted from 0, whose 3x3 convolutions are deformable"
        ),
        "frozen_stages": Leaf(
            -1,
            Whole(-1, 4),
            "so many stages, and the stem, stay as they are; 0: the stem, -1: none",
        ),
        "norm_eval": Leaf(False, Flag(), "normalise by running statistics in training too"),
        "remat_stages": Leaf(
            (),
            Several(STAGE),
            "stages, counted from 0, that are computed again for their gradients, to need less "
            "memory",
        ),
        "context": {
            **context_section("", ratio=1 / 16),
            "position": Leaf(
                "after_conv3",
                OneOf("after_conv1", "after_conv2", "after_conv3", "after_add"),
                "behind which convolution of a residual block, or behind the sum",
            ),
            "stages": Leaf(
                (1, 2, 3), Several(STAGE), "counted from 0; c3, c4 and c5 of the papers"
            ),
            "residual_blocks": Leaf(
                (), Several(Whole(-23, 22)), "which of a stage, such as (-2,); (): all"
            ),
        },
    }


def check_stages(backbone: ConfigDict, used: Mapping[str, Collection[int]]) -> None:
    """Raises InputError if something is in a stage that the backbone does not have.

    Args:
        backbone: a section from `backbone_section`.
        used: the stages that others read, by their keys in the section `model`.
    """
    in_backbone = {
        "backbone.remat_stages": backbone.remat_stages,
        "backbone.deformable_stages": backbone.deformable_stages,
    }
    if backbone.context.block:
        in_backbone["backbone.context.stages"] = backbone.context.stages
    if backbone.frozen_stages > backbone.num_stages:
        raise InputError(
            f"model.backbone.frozen_stages is {backbone.frozen_stages}, but the backbone has "
            f"{backbone.num_stages} stages (model.backbone.num_stages)"
        )
    for key, stages in {**in_backbone, **used}.items():
        if any(stage >= backbone.num_stages for stage in stages):
            raise InputError(
                f"model.{key} is {', '.join(map(str, stages))}, but the backbone has "
                f"{backbone.num_stages} stages, counted from 0 (model.backbone.num_stages)"
            )
