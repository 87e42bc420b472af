"""Decode heads: from the features of a stage to class logits at the stage's resolution."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float

from gcnet_jax.errors import InputError
from gcnet_jax.nn import ContextBlock, Conv, ConvNormAct
from gcnet_jax.nn.checks import check_count, check_features, check_fraction
from gcnet_jax.nn.initialization import Normal


class FCNHead(nnx.Module):
    """Convolutions, optionally around a context block, then dropout and a 1x1 classifier.

    With a `GlobalContext` block, two convolutions and `concat_input` this is mmsegmentation's
    `GCHead`; without a block it is its `FCNHead`. (Its `NLHead` has one batch normalisation more.)

    Args:
        in_channels: channels of the input features.
        channels: channels inside the head.
        num_classes: channels of the result.
        num_convs: 3x3 convolutions before the classifier, at least one.
        concat_input: whether the input is concatenated to the result of the convolutions and fused
            by one more.
        dropout_rate: probability of dropping a whole channel before the classifier.
        context: a block applied after the first convolution, on `channels` channels.
        dtype: dtype of the computation; the logits are float32.

    Raises:
        InputError: a count below one, a dropout rate that is not in 0..1 (without 1), a dtype of no
            floats, or a context block for other channels.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        *,
        num_convs: int = 2,
        concat_input: bool = True,
        dropout_rate: float = 0.1,
        context: ContextBlock | None = None,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("in_channels", in_channels)
        check_count("channels", channels)
        check_count("num_classes", num_classes)
        check_count("num_convs", num_convs)
        check_fraction("dropout_rate", dropout_rate, below_one=True)
        if context is not None and context.channels != channels:
            raise InputError(
                f"the context block is for {context.channels} channels; expected {channels}, as "
                "the head has"
            )
        self.in_channels = in_channels
        self.convs = nnx.List(
            [
                ConvNormAct(
                    in_channels if index == 0 else channels, channels, 3, dtype=dtype, rngs=rngs
                )
                for index in range(num_convs)
            ]
        )
        self.context = nnx.data(context)
        self.fuse = nnx.data(
            ConvNormAct(in_channels + channels, channels, 3, dtype=dtype, rngs=rngs)
            if concat_input
            else None
        )
        self.dropout = nnx.Dropout(dropout_rate, broadcast_dims=(1, 2))
        self.classifier = Conv(
            channels,
            num_classes,
            1,
            use_bias=True,
            kernel_init=Normal(0.01),
            dtype=jnp.float32,
            rngs=rngs,
        )

    def __call__(
        self,
        features: Float[Array, "b h w c"],
        mask: Bool[Array, "b h w"] | None = None,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "b h w classes"]:
        """Logits at the resolution of `features`.

        Args:
            features: of the head's stage, zero where the mask is false.
            mask: of images that lie padded in the array; outside the logits mean nothing.
            rngs: needed for dropout in training.

        Raises:
            InputError: features or mask have another type or shape; or the head is in training mode
                and `rngs` is not given.
        """
        check_features(features, self.in_channels, mask, spatial_axes=(2,))
        if rngs is None and not self.dropout.deterministic and self.dropout.rate > 0:
            raise InputError(
                "in training mode dropout needs random numbers: call model.eval() for inference, "
                "or give rngs=nnx.Rngs(dropout=KEY) to head_logits"
            )
        x = self.convs[0](features, mask)
        if self.context is not None:
            x = self.context(x, mask)
        for conv in self.convs[1:]:
            x = conv(x, mask)
        if self.fuse is not None:
            x = self.fuse(jnp.concatenate([features, x], axis=-1), mask)
        return self.classifier(self.dropout(x, rngs=rngs))

    def attention(self, features: Float[Array, "b h w c"]) -> Float[Array, "b h w"]:
        """The context block's attention map over `features`.

        Raises:
            InputError: the head has no context block, or one with a map for each query; or the
                features have another type or shape.
        """
        check_features(features, self.in_channels, spatial_axes=(2,))
        if self.context is None:
            raise InputError("this head has no context block")
        if not self.context.pool.query_independent:
            raise InputError(
                "the context block of this head has no one map: each query has its own"
            )
        return self.context.attention(self.convs[0](features))
