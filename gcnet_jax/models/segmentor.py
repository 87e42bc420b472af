"""A backbone with a decode head and, for training, an auxiliary head."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from gcnet_jax.models.heads import FCNHead
from gcnet_jax.models.resnet import ResNet
from gcnet_jax.ops import resize_bilinear


class HeadLogits(NamedTuple):
    """What the heads say, each at the resolution of its stage."""

    decode: Float[Array, "b h w classes"]
    auxiliary: Float[Array, "b h w classes"] | None


class Segmentor(nnx.Module):
    """Semantic segmentation by an encoder and a decode head (mmsegmentation's `EncoderDecoder`).

    Args:
        backbone: the network that returns a pyramid of features.
        decode_head: makes the logits from stage `decode_stage` (counted from 0).
        decode_stage: index of the backbone's stage that the decode head reads.
        auxiliary_head: a second head whose loss helps training, unused in inference.
        auxiliary_stage: index of the stage that the auxiliary head reads.
        align_corners: how logits are resized to the image, see `resize_bilinear`.
    """

    def __init__(
        self,
        backbone: ResNet,
        decode_head: FCNHead,
        *,
        decode_stage: int = 3,
        auxiliary_head: FCNHead | None = None,
        auxiliary_stage: int = 2,
        align_corners: bool = False,
    ):
        self.backbone = backbone
        self.decode_head = decode_head
        self.decode_stage = decode_stage
        self.auxiliary_head = nnx.data(auxiliary_head)
        self.auxiliary_stage = auxiliary_stage
        self.align_corners = align_corners

    def head_logits(
        self, images: Float[Array, "b h w 3"], *, rngs: nnx.Rngs | None = None
    ) -> HeadLogits:
        """The logits of both heads before resizing, which is what the losses are built from.

        Args:
            images: normalised RGB, see `normalize_images`.
            rngs: holds the `dropout` stream; needed in training mode.
        """
        features = self.backbone(images)
        decode = self.decode_head(features[self.decode_stage], rngs=rngs)
        auxiliary = None
        if self.auxiliary_head is not None:
            auxiliary = self.auxiliary_head(features[self.auxiliary_stage], rngs=rngs)
        return HeadLogits(decode, auxiliary)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w classes"]:
        """Logits of the decode head at the size of the images.

        Args:
            images: normalised RGB, see `normalize_images`.
        """
        features = self.backbone(images)
        logits = self.decode_head(features[self.decode_stage])
        return self.resize(logits, (images.shape[1], images.shape[2]))

    def resize(
        self, logits: Float[Array, "b h w classes"], size: tuple[int, int]
    ) -> Float[Array, "b out_h out_w classes"]:
        """Resizes logits to `size` (height, width) with the model's `align_corners`."""
        return resize_bilinear(logits, size, align_corners=self.align_corners)

    def attention(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w"]:
        """The decode head's context attention map at the size of the images.

        Values are those of the head's resolution, interpolated: they sum to one there, not here.
        """
        features = self.backbone(images)
        attention = self.decode_head.attention(features[self.decode_stage])
        size = (images.shape[1], images.shape[2])
        return jnp.squeeze(self.resize(attention[..., None], size), -1)
