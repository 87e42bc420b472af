"""A backbone with a decode head and, for training, an auxiliary head."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Integer

from gcnet_jax.errors import InputError
from gcnet_jax.models.resnet import ResNet
from gcnet_jax.ops import (
    apply_separable,
    check_normalized,
    check_sizes,
    inside,
    interpolation_matrix,
    resize_bilinear,
    strided,
)
from gcnet_jax.tasks.segmentation.heads import FCNHead


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

    Raises:
        InputError: the backbone has no such stage, or a head is for other channels than its stage.
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
        _check_place("decode", backbone, decode_stage, decode_head)
        if auxiliary_head is not None:
            _check_place("auxiliary", backbone, auxiliary_stage, auxiliary_head)
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

        Raises:
            InputError: the images are not normalised, or of another shape; or there are no `rngs`
                in training mode.
        """
        features = self.backbone(images)
        decode = self.decode_head(features[self.decode_stage], rngs=rngs)
        auxiliary = None
        if self.auxiliary_head is not None:
            auxiliary = self.auxiliary_head(features[self.auxiliary_stage], rngs=rngs)
        return HeadLogits(decode, auxiliary)

    def __call__(
        self, images: Float[Array, "b h w 3"], sizes: Integer[Array, "b 2"] | None = None
    ) -> Float[Array, "b h w classes"]:
        """Logits of the decode head at the size of the images.

        Args:
            images: normalised RGB, see `normalize_images`.
            sizes: (height, width) of images of several sizes that lie at the top left of their
                arrays, zero around them. In evaluation mode each gets the logits that it would have
                alone, and zeros around them.

        Raises:
            InputError: the images are not normalised, images or sizes have another shape, or the
                model is in training mode.
        """
        logits = self.decode(images, sizes)
        size = (images.shape[1], images.shape[2])
        if sizes is None:
            return self.resize(logits, size)
        rows, columns = (
            interpolation_matrix(
                self.decoded_length(sizes[:, axis]),
                sizes[:, axis],
                (logits.shape[1 + axis], size[axis]),
                align_corners=self.align_corners,
            )
            for axis in (0, 1)
        )
        return apply_separable(logits, rows, columns)

    def decode(
        self, images: Float[Array, "b h w 3"], sizes: Integer[Array, "b 2"] | None = None
    ) -> Float[Array, "b out_h out_w classes"]:
        """Logits at the decode head's own resolution; arguments as for `__call__`.

        Of an image of a given size they are `decoded_length` long on each axis; what lies around
        means nothing.
        """
        check_normalized(images)
        check_sizes(sizes, images)
        mask = None if sizes is None else inside(sizes, (images.shape[1], images.shape[2]))
        features = self.backbone(images, mask)[self.decode_stage]
        return self.decode_head(features, strided(mask, self.decode_stride))

    def decoded_length(self, length: Integer[Array, "*b"]) -> Integer[Array, "*b"]:
        """How many positions `decode` has for a number of pixels along one axis."""
        return -(-length // self.decode_stride)

    @property
    def decode_stride(self) -> int:
        """Pixels of the image to one position of `decode`, along each axis."""
        return self.backbone.stage_strides[self.decode_stage]

    def resize(
        self, logits: Float[Array, "b h w classes"], size: tuple[int, int]
    ) -> Float[Array, "b out_h out_w classes"]:
        """Resizes logits to `size` (height, width) with the model's `align_corners`."""
        return resize_bilinear(logits, size, align_corners=self.align_corners)

    def attention(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w"]:
        """The decode head's context attention map at the size of the images.

        Values are those of the head's resolution, interpolated: they sum to one there, not here.

        Raises:
            InputError: the images are not normalised, or of another shape; or the head has no one
                attention map.
        """
        features = self.backbone(images)
        attention = self.decode_head.attention(features[self.decode_stage])
        size = (images.shape[1], images.shape[2])
        return jnp.squeeze(self.resize(attention[..., None], size), -1)


def _check_place(name: str, backbone: ResNet, stage: int, head: FCNHead) -> None:
    stages = len(backbone.stage_channels)
    if stage not in range(stages):
        raise InputError(
            f"the {name} head reads stage {stage!r}, but the backbone has {stages} stages, counted "
            "from 0"
        )
    channels = backbone.stage_channels[stage]
    if head.in_channels != channels:
        raise InputError(
            f"the {name} head is for {head.in_channels} channels; expected {channels}, those of "
            f"stage {stage} of the backbone"
        )
