"""ResNet v1b, v1c and v1d and ResNeXt, with a chosen output stride.

Sources: He et al., "Deep Residual Learning for Image Recognition" (2016), and "Bag of Tricks for
Image Classification" (He et al. 2019) for the stems; Xie et al., "Aggregated Residual
Transformations for Deep Neural Networks" (2017), for the groups; OpenMMLab's `ResNet`, `ResNetV1c`,
`ResNetV1d` and `ResNeXt` for strides, dilations, initialisation and what is frozen.
"""

from collections.abc import Collection, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, DTypeLike, Float

from gcnet_jax.errors import InputError
from gcnet_jax.models.residual_blocks import (
    BasicBlock,
    Bottleneck,
    ContextPlacement,
    ResidualBlock,
)
from gcnet_jax.nn import BatchNorm, ConvNormAct
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
        groups: of the 3x3 convolutions of bottlenecks; with more than one it is a ResNeXt.
        base_width: channels of each group in the first stage, which double with each stage (4 in
            ResNeXt 32x4d); without groups it has no meaning.
        deformable_stages: indices of the stages, counted from 0, whose 3x3 convolutions are
            deformable; they have bottlenecks.
        context: where there are context blocks, if anywhere.
        frozen_stages: 0 freezes the stem, a larger number as many stages with it: they compute as
            in evaluation mode whatever the mode is, and their parameters get no gradient. -1: none.
        norm_eval: whether all batch normalisation computes as in evaluation mode whatever the mode
            is; its scale and bias get gradients all the same.
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
        groups: int = 1,
        base_width: int = 4,
        deformable_stages: Collection[int] = (),
        context: ContextPlacement | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
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
        check_count("groups", groups)
        check_count("base_width", base_width)
        check_choice("frozen_stages", frozen_stages, range(-1, num_stages + 1))
        for name, chosen in (("remat", remat_stages), ("deformable", deformable_stages)):
            for stage in chosen:
                check_choice(f"{name}_stages has a stage that", stage, range(num_stages))
        block_class, stage_depths = _ARCHITECTURES[depth]
        if block_class is not Bottleneck and (groups > 1 or deformable_stages):
            raise InputError(
                f"groups is {groups}, deformable_stages {tuple(deformable_stages)}; expected 1 and "
                f"(), for ResNet-{depth} has no bottlenecks"
            )
        if context is not None:
            _check_placement(context, block_class, stage_depths[:num_stages])

        self.stem = _stem(variant, base_channels, dtype, rngs)
        stages, channels = [], base_channels
        for index in range(num_stages):
            width = (groups * base_width if groups > 1 else base_channels) * 2**index
            out_channels = base_channels * 2**index * block_class.expansion
            stride = _STRIDES[output_stride][index]
            dilation = _DILATIONS[output_stride][index]
            depth_here = stage_depths[index]
            options = {}
            if block_class is Bottleneck:
                options = {"groups": groups, "deformable": index in deformable_stages}
            blocks = []
            for position in range(depth_here):
                has_context = context is not None and context.has(index, position, depth_here)
                blocks.append(
                    block_class(
                        channels,
                        width,
                        out_channels,
                        stride=stride if position == 0 else 1,
                        # The first block of a dilated stage still sees the undilated grid of the
                        # stage before: half the dilation avoids gridding ("contract_dilation").
                        dilation=max(dilation // 2, 1) if position == 0 else dilation,
                        average_shortcut=variant == "v1d",
                        context=context if has_context else None,
                        dtype=dtype,
                        rngs=rngs,
                        **options,
                    )
                )
                channels = out_channels
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.variant = variant
        self.remat_stages = frozenset(remat_stages)
        self.frozen_stages = frozen_stages
        for part in [self] if norm_eval else self._frozen_parts():
            for _, module in nnx.iter_graph(part):
                if isinstance(module, BatchNorm):
                    module.frozen = True
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
            mask: of images that lie padded in the array; outside features are zero. In evaluation
                mode each has the features that it would have alone, in training mode the statistics
                of a batch are of what is inside.

        Raises:
            InputError: the images are not normalised, or of another shape; or so is the mask.
        """
        check_normalized(images)
        check_mask(mask, images)
        x = images
        for layer in self.stem if self.frozen_stages < 0 else _without_gradients(self.stem):
            x, mask = layer(x, mask), strided(mask, layer.stride)
        # Zeros beyond an image's border change no maximum: after a ReLU nothing is below them.
        x, mask = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=_BORDER_OF_ONE), strided(mask, 2)
        x = zero_outside(x, mask)
        outputs = []
        for index, stage in enumerate(self.stages):
            if index < self.frozen_stages:
                stage = _without_gradients(stage)
            call = _call_with_remat if index in self.remat_stages else _call
            for block in stage:
                x, mask = call(block, x, mask), strided(mask, block.stride)
            outputs.append(x)
        return tuple(outputs)

    def _frozen_parts(self) -> list[nnx.Module]:
        if self.frozen_stages < 0:
            return []
        return [self.stem, *self.stages[: self.frozen_stages]]


def frozen_parameters(model: nnx.Module) -> frozenset[str]:
    """The paths of the parameters that get no gradient because their backbone's stage is frozen.

    Args:
        model: a backbone, or a network that has some. Parts of a path are joined by dots.
    """
    frozen = set()
    for path, module in nnx.iter_graph(model):
        if isinstance(module, ResNet) and module.frozen_stages >= 0:
            parts = ["stem", *(f"stages.{index}" for index in range(module.frozen_stages))]
            frozen.update(".".join([*map(str, path), part, ""]) for part in parts)
    paths = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))]
    return frozenset(path for path in paths if path.startswith(tuple(frozen)))


def _without_gradients(part: nnx.Module) -> Any:
    graphdef, state = nnx.split(part)
    return nnx.merge(graphdef, jax.tree.map(lax.stop_gradient, state))


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
