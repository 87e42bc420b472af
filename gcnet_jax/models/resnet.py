"""ResNet v1b, v1c and v1d with a chosen output stride.

Sources: He et al., "Deep Residual Learning for Image Recognition" (2016), and "Bag of Tricks for
Image Classification" (He et al. 2019) for the stems; mmsegmentation's `ResNet`, `ResNetV1c` and
`ResNetV1d` for strides, dilations and initialisation.
"""

from collections.abc import Collection, Sequence
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float

from gcnet_jax.errors import InputError
from gcnet_jax.models.residual_blocks import (
    BasicBlock,
    Bottleneck,
    ContextPlacement,
    ResidualBlock,
)
from gcnet_jax.nn import ConvNormAct
from gcnet_jax.nn.checks import check_choice, check_count, check_mask
from gcnet_jax.ops import check_normalized, strided, zero_outside

Variant = Literal["v1b", "v1c", "v1d"]

# Strides and dilations of the four stages, by output stride.
_STRIDES = {8: (1, 2, 1, 1), 16: (1, 2, 2, 1), 32: (1, 2, 2, 2)}
_DILATIONS = {8: (1, 1, 2, 4), 16: (1, 1, 1, 2), 32: (1, 1, 1, 1)}

# Flax types the padding of poolings as a string alone, but takes pairs as well.
_BORDER_OF_ONE: Any = ((1, 1), (1, 1))


class ResNet(nnx.Module):
    """A residual network that returns the output of each stage.

    Args:
        depth: 18, 34, 50 or 101.
        variant: `v1b` has a 7x7 stem with the stride on the 3x3 convolution of a bottleneck (as
            torchvision's ResNet), `v1c` three 3x3 convolutions as stem, `v1d` moreover an average
            pooling in the shortcuts that shrink.
        output_stride: by how much the last stage is smaller than the image: 8, 16 or 32. Stages
            that would shrink further are dilated instead.
        num_stages: how many of the four stages to build.
        base_channels: channels of the stem and width of the first stage (64 in all published runs).
        context: where there are context blocks, if anywhere.
        remat_stages: indices of the stages, counted from 0, that need less memory in training: of
            each residual block the input alone is kept, and what is inside is computed again when
            its gradient is. Results stay the same.
        dtype: dtype of the computation; parameters and statistics are float32.

    Raises:
        InputError: a value is not among those allowed, or there is no such place for context
            blocks.
    """

    def __init__(
        self,
        depth: int,
        *,
        variant: Variant = "v1c",
        output_stride: int = 8,
        num_stages: int = 4,
        base_channels: int = 64,
        context: ContextPlacement | None = None,
        remat_stages: Collection[int] = (),
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_choice("depth", depth, _ARCHITECTURES)
        check_choice("variant", variant, get_args(Variant))
        check_choice("output_stride", output_stride, _STRIDES)
        check_choice("num_stages", num_stages, (1, 2, 3, 4))
        check_count("base_channels", base_channels)
        if variant != "v1b" and base_channels < 2:
            raise InputError("base_channels is 1; expected 2 or more, for the stem halves them")
        for stage in remat_stages:
            check_choice("remat_stages has a stage that", stage, range(num_stages))
        block_class, stage_depths = _ARCHITECTURES[depth]
        if context is not None:
            _check_placement(context, block_class, stage_depths[:num_stages])

        self.stem = _stem(variant, base_channels, dtype, rngs)
        stages, channels = [], base_channels
        for index in range(num_stages):
            width = base_channels * 2**index
            stride = _STRIDES[output_stride][index]
            dilation = _DILATIONS[output_stride][index]
            depth_here = stage_depths[index]
            blocks = []
            for position in range(depth_here):
                has_context = context is not None and context.has(index, position, depth_here)
                blocks.append(
                    block_class(
                        channels,
                        width,
                        stride=stride if position == 0 else 1,
                        # The first block of a dilated stage still sees the undilated grid of the
                        # stage before: half the dilation avoids gridding ("contract_dilation").
                        dilation=max(dilation // 2, 1) if position == 0 else dilation,
                        average_shortcut=variant == "v1d",
                        context=context if has_context else None,
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                channels = width * block_class.expansion
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.variant = variant
        self.remat_stages = frozenset(remat_stages)
        strides = _STRIDES[output_stride][:num_stages]
        self.stage_strides = tuple(int(s) for s in 4 * np.cumprod(strides))
        self.stage_channels = tuple(
            base_channels * 2**index * block_class.expansion for index in range(num_stages)
        )

    def __call__(
        self, images: Float[Array, "b h w 3"], mask: Bool[Array, "b h w"] | None = None
    ) -> tuple[Float[Array, "b _h _w _c"], ...]:
        """The outputs of the stages (c2, c3, c4, c5 of the papers), of `stage_channels` each.

        Args:
            images: normalised RGB, zero where the mask is false.
            mask: of images that lie padded in the array. In evaluation mode each has the features
                that it would have alone; outside they are zero.

        Raises:
            InputError: the images are not normalised, or of another shape; or so is the mask.
        """
        check_normalized(images)
        check_mask(mask, images)
        x = images
        for layer in self.stem:
            x, mask = layer(x, mask), strided(mask, layer.stride)
        # Zeros beyond an image's border change no maximum: after a ReLU nothing is below them.
        x, mask = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=_BORDER_OF_ONE), strided(mask, 2)
        x = zero_outside(x, mask)
        outputs = []
        for index, stage in enumerate(self.stages):
            call = _call_with_remat if index in self.remat_stages else _call
            for block in stage:
                x, mask = call(block, x, mask), strided(mask, block.stride)
            outputs.append(x)
        return tuple(outputs)


def _stem(variant: Variant, channels: int, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.List:
    if variant == "v1b":
        return nnx.List([ConvNormAct(3, channels, 7, stride=2, dtype=dtype, rngs=rngs)])
    half = channels // 2
    return nnx.List(
        [
            ConvNormAct(3, half, 3, stride=2, dtype=dtype, rngs=rngs),
            ConvNormAct(half, half, 3, dtype=dtype, rngs=rngs),
            ConvNormAct(half, channels, 3, dtype=dtype, rngs=rngs),
        ]
    )


def _call(
    block: ResidualBlock, x: Float[Array, "b h w c"], mask: Bool[Array, "b h w"] | None
) -> Float[Array, "b out_h out_w c_out"]:
    return block(x, mask)


# Batch statistics that a block writes come out of the first computation alone.
_call_with_remat = nnx.remat(_call)


_ARCHITECTURES: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


def _check_placement(
    context: ContextPlacement, block_class: type[ResidualBlock], stage_depths: Sequence[int]
) -> None:
    positions = (*(f"after_conv{i + 1}" for i in range(block_class.convolutions)), "after_add")
    check_choice("context.position", context.position, positions)
    if not context.stages:
        raise InputError("context.stages is empty; expected at least one stage")
    for stage in context.stages:
        check_choice("context.stages has a stage that", stage, range(len(stage_depths)))
        depth = stage_depths[stage]
        for index in context.residual_blocks:
            if not -depth <= index < depth:
                raise InputError(
                    f"context.residual_blocks has {index}; stage {stage} has those from {-depth} "
                    f"to {depth - 1}"
                )
