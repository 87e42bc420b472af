"""ResNet v1b, v1c and v1d with a chosen output stride.

Sources: He et al., "Deep Residual Learning for Image Recognition" (2016), and "Bag of Tricks for
Image Classification" (He et al. 2019) for the stems; mmsegmentation's `ResNet`, `ResNetV1c` and
`ResNetV1d` for strides, dilations and initialisation.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.errors import InputError
from gcnet_jax.nn import ConvNormAct

Variant = Literal["v1b", "v1c", "v1d"]
Position = Literal["after_conv1", "after_conv2", "after_conv3"]

# Strides and dilations of the four stages, by output stride.
_STRIDES = {8: (1, 2, 1, 1), 16: (1, 2, 2, 1), 32: (1, 2, 2, 2)}
_DILATIONS = {8: (1, 1, 2, 4), 16: (1, 1, 1, 2), 32: (1, 1, 1, 1)}

# Flax types the padding of poolings as a string alone, but takes pairs as well.
_BORDER_OF_ONE: Any = ((1, 1), (1, 1))


@dataclasses.dataclass(frozen=True)
class ContextPlacement:
    """Where a backbone has context blocks (mmsegmentation's `plugins`).

    Attributes:
        block: makes one: `block(channels, dtype=dtype, rngs=rngs)`, for example `GlobalContext`.
        position: behind which convolution of each bottleneck, its normalisation and ReLU included;
            behind the third there is no ReLU, and the shortcut joins after the block.
        stages: indices of the stages whose bottlenecks have one, counted from 0.
    """

    block: Callable[..., nnx.Module]
    position: Position
    stages: Collection[int]


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
        context: where there are context blocks, if anywhere; depth 50 or 101 only.
        dtype: dtype of the computation; parameters and statistics are float32.
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
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        _check("depth", depth, _ARCHITECTURES)
        _check("variant", variant, get_args(Variant))
        _check("output_stride", output_stride, _STRIDES)
        _check("num_stages", num_stages, (1, 2, 3, 4))
        block_class, stage_depths = _ARCHITECTURES[depth]
        if context is not None:
            _check("position", context.position, get_args(Position))
            if block_class is not Bottleneck:
                raise InputError(f"depth is {depth}; context blocks need bottlenecks (50 or 101)")

        self.stem = _stem(variant, base_channels, dtype, rngs)
        stages, channels = [], base_channels
        for index in range(num_stages):
            width = base_channels * 2**index
            stride = _STRIDES[output_stride][index]
            dilation = _DILATIONS[output_stride][index]
            options: dict[str, Any] = {}
            if context is not None and index in context.stages:
                options = {"context": context}
            blocks = []
            for position in range(stage_depths[index]):
                blocks.append(
                    block_class(
                        channels,
                        width,
                        stride=stride if position == 0 else 1,
                        # The first block of a dilated stage still sees the undilated grid of the
                        # stage before: half the dilation avoids gridding ("contract_dilation").
                        dilation=max(dilation // 2, 1) if position == 0 else dilation,
                        average_shortcut=variant == "v1d",
                        dtype=dtype,
                        rngs=rngs,
                        **options,
                    )
                )
                channels = width * block_class.expansion
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.variant = variant
        self.stage_channels = tuple(
            base_channels * 2**index * block_class.expansion for index in range(num_stages)
        )

    def __call__(self, images: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _h _w _c"], ...]:
        """The outputs of the stages (c2, c3, c4, c5 of the papers), of `stage_channels` each."""
        x = images
        for layer in self.stem:
            x = layer(x)
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=_BORDER_OF_ONE)
        outputs = []
        for stage in self.stages:
            for block in stage:
                x = block(x)
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


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions around a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        dilation: int,
        average_shortcut: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.conv1 = ConvNormAct(
            in_channels, width, 3, stride=stride, dilation=dilation, dtype=dtype, rngs=rngs
        )
        self.conv2 = ConvNormAct(
            width,
            width,
            3,
            activate=False,
            norm_scale_init=nnx.initializers.zeros,
            dtype=dtype,
            rngs=rngs,
        )
        self.shortcut = _shortcut(in_channels, width, stride, average_shortcut, dtype, rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b out_h out_w width"]:
        """The residual sum, after ReLU."""
        residual = x if self.shortcut is None else self.shortcut(x)
        return jax.nn.relu(self.conv2(self.conv1(x)) + residual)


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut (ResNet-50 and -101)."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        dilation: int,
        average_shortcut: bool,
        context: ContextPlacement | None = None,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        out_channels = width * self.expansion
        self.conv1 = ConvNormAct(in_channels, width, 1, dtype=dtype, rngs=rngs)
        self.conv2 = ConvNormAct(
            width, width, 3, stride=stride, dilation=dilation, dtype=dtype, rngs=rngs
        )
        self.conv3 = ConvNormAct(
            width,
            out_channels,
            1,
            activate=False,
            norm_scale_init=nnx.initializers.zeros,
            dtype=dtype,
            rngs=rngs,
        )
        self.context = nnx.data(None)
        if context is not None:
            self.context_position = context.position
            channels = out_channels if context.position == "after_conv3" else width
            self.context = context.block(channels, dtype=dtype, rngs=rngs)
        self.shortcut = _shortcut(in_channels, out_channels, stride, average_shortcut, dtype, rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b out_h out_w c_out"]:
        """The residual sum, after ReLU."""
        residual = x if self.shortcut is None else self.shortcut(x)
        for conv, position in (
            (self.conv1, "after_conv1"),
            (self.conv2, "after_conv2"),
            (self.conv3, "after_conv3"),
        ):
            x = conv(x)
            if self.context is not None and position == self.context_position:
                x = self.context(x)
        return jax.nn.relu(x + residual)


class Shortcut(nnx.Module):
    """The projection of a shortcut whose channels or size change."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        average: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.pool = stride if average else 1
        self.project = ConvNormAct(
            in_channels,
            out_channels,
            1,
            stride=1 if average else stride,
            activate=False,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b out_h out_w c_out"]:
        """Shrinks and projects `x`; windows over the border average what they have."""
        if self.pool > 1:
            window = (self.pool, self.pool)
            border: Any = tuple((0, -size % self.pool) for size in x.shape[1:3])
            x = nnx.avg_pool(x, window, strides=window, padding=border, count_include_pad=False)
        return self.project(x)


def _shortcut(
    in_channels: int,
    out_channels: int,
    stride: int,
    average: bool,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> Shortcut | None:
    if stride == 1 and in_channels == out_channels:
        return nnx.data(None)
    return Shortcut(
        in_channels, out_channels, stride=stride, average=average, dtype=dtype, rngs=rngs
    )


_ARCHITECTURES: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


def _check(name: str, value: object, allowed: Collection[object]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; expected one of {tuple(allowed)}")
