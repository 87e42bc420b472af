"""The residual blocks of ResNets, and where they have context blocks."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float

from gcnet_jax.nn import ContextBlock, ConvNormAct
from gcnet_jax.nn.initialization import zeros
from gcnet_jax.ops import strided

Position = Literal["after_conv1", "after_conv2", "after_conv3", "after_add"]


@dataclasses.dataclass(frozen=True)
class ContextPlacement:
    """Where a backbone has context blocks (mmsegmentation's `plugins`).

    Attributes:
        block: makes one for a number of channels, for example
            `functools.partial(GlobalContext, rngs=rngs)`.
        position: behind which convolution of a residual block, its normalisation and ReLU included;
            behind the last there is no ReLU, and the shortcut joins after the context block ("after
            1x1" in the paper). `after_add` is behind the sum with the shortcut, before its ReLU.
        stages: indices of the stages that have context blocks, counted from 0.
        residual_blocks: which residual blocks of these stages, counted from 0 or from the end (-1
            is the last); all of them if empty.
    """

    block: Callable[[int], ContextBlock]
    position: Position
    stages: Collection[int]
    residual_blocks: Collection[int] = ()

    def has(self, stage: int, index: int, depth: int) -> bool:
        """Whether residual block `index` of the `depth` blocks in a stage has a context block."""
        chosen = {i % depth for i in self.residual_blocks} if self.residual_blocks else {index}
        return stage in self.stages and index in chosen


class ResidualBlock(nnx.Module):
    """Convolutions around a shortcut, with a context block somewhere between them or behind.

    A kind of residual block says which convolutions it has, as `conv1`, `conv2`, ...
    """

    expansion: ClassVar[int]
    """Channels of the result relative to the base width of the stage."""
    convolutions: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        stride: int,
        average_shortcut: bool,
        context: ContextPlacement | None,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        self.shortcut = nnx.data(None)
        if stride != 1 or in_channels != out_channels:
            self.shortcut = Shortcut(
                in_channels,
                out_channels,
                stride=stride,
                average=average_shortcut,
                dtype=dtype,
                rngs=rngs,
            )
        self.context = nnx.data(None)
        if context is not None:
            self.context_position = context.position
            whole = context.position in (f"after_conv{self.convolutions}", "after_add")
            self.context = context.block(out_channels if whole else width)

    def __call__(
        self, x: Float[Array, "b h w c"], mask: Bool[Array, "b h w"] | None = None
    ) -> Float[Array, "b out_h out_w c_out"]:
        """The residual sum, after ReLU; `x` and the result are zero outside the mask."""
        residual = x if self.shortcut is None else self.shortcut(x, mask)
        for index in range(1, self.convolutions + 1):
            conv = getattr(self, f"conv{index}")
            x, mask = conv(x, mask), strided(mask, conv.stride)
            x = self._with_context(x, f"after_conv{index}", mask)
        return jax.nn.relu(self._with_context(x + residual, "after_add", mask))

    def _with_context(
        self, x: Float[Array, "b h w c"], position: str, mask: Bool[Array, "b h w"] | None
    ) -> Float[Array, "b h w c"]:
        if self.context is None or self.context_position != position:
            return x
        return self.context(x, mask)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions around a shortcut (ResNet-18 and -34)."""

    expansion = 1
    convolutions = 2

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        stride: int,
        dilation: int,
        average_shortcut: bool,
        context: ContextPlacement | None = None,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.conv1 = ConvNormAct(
            in_channels, width, 3, stride=stride, dilation=dilation, dtype=dtype, rngs=rngs
        )
        self.conv2 = ConvNormAct(
            width,
            out_channels,
            3,
            activate=False,
            norm_scale_init=zeros,
            dtype=dtype,
            rngs=rngs,
        )
        super().__init__(
            in_channels,
            width,
            out_channels,
            stride=stride,
            average_shortcut=average_shortcut,
            context=context,
            dtype=dtype,
            rngs=rngs,
        )


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions around a shortcut (ResNet-50 and -101; with groups ResNeXt)."""

    expansion = 4
    convolutions = 3

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        *,
        stride: int,
        dilation: int,
        groups: int = 1,
        deformable: bool = False,
        average_shortcut: bool,
        context: ContextPlacement | None = None,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.conv1 = ConvNormAct(in_channels, width, 1, dtype=dtype, rngs=rngs)
        self.conv2 = ConvNormAct(
            width,
            width,
            3,
            stride=stride,
            dilation=dilation,
            groups=groups,
            deformable=deformable,
            dtype=dtype,
            rngs=rngs,
        )
        self.conv3 = ConvNormAct(
            width,
            out_channels,
            1,
            activate=False,
            norm_scale_init=zeros,
            dtype=dtype,
            rngs=rngs,
        )
        super().__init__(
            in_channels,
            width,
            out_channels,
            stride=stride,
            average_shortcut=average_shortcut,
            context=context,
            dtype=dtype,
            rngs=rngs,
        )


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

    def __call__(
        self, x: Float[Array, "b h w c"], mask: Bool[Array, "b h w"] | None = None
    ) -> Float[Array, "b out_h out_w c_out"]:
        """Shrinks and projects `x`; windows over the border average what they have."""
        if self.pool > 1:
            x = self._average(x)
            if mask is not None:
                share = self._average(mask[..., None].astype(x.dtype))
                x = jnp.where(share > 0, x / share, 0)
        return self.project(x, strided(mask, self.pool))

    def _average(self, x: Float[Array, "b h w c"]) -> Float[Array, "b out_h out_w c"]:
        window = (self.pool, self.pool)
        border: Any = tuple((0, -size % self.pool) for size in x.shape[1:3])
        return nnx.avg_pool(x, window, strides=window, padding=border, count_include_pad=False)
