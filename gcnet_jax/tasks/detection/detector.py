"""A two-stage detector: Mask R-CNN with one stage of heads, Cascade Mask R-CNN with three.

Sources: He et al., "Mask R-CNN" (2017); Cai and Vasconcelos, "Cascade R-CNN" (2019); mmdetection
3.3.0's `MaskRCNN`, `StandardRoIHead` and `CascadeRoIHead` for what is decided how.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Integer

from gcnet_jax.errors import InputError
from gcnet_jax.models import FeaturePyramid, ResNet
from gcnet_jax.ops import check_normalized, check_sizes, inside
from gcnet_jax.parallel import on_own_images
from gcnet_jax.tasks.detection.box_head import BoxHead
from gcnet_jax.tasks.detection.boxes.suppression import suppress_by_class
from gcnet_jax.tasks.detection.mask_head import MaskHead
from gcnet_jax.tasks.detection.proposals import Level, Proposals, propose
from gcnet_jax.tasks.detection.regions.levels import region_levels
from gcnet_jax.tasks.detection.regions.roi_align import roi_align
from gcnet_jax.tasks.detection.rpn_head import RPNHead
from gcnet_jax.tasks.detection.settings import DetectorSettings, ProposalSettings

DIVISOR = 32
"""Images are seen padded with zeros to a multiple of this many pixels."""
LEVELS_OF_REGIONS = 4
"""How many levels of the pyramid, from the finest, the heads read."""
MASK_BINS = 14
"""Height and width of the features of a region that a mask head sees; its masks have twice both."""


class Detections(NamedTuple):
    """What is detected in the images of a batch, the surest first.

    Attributes:
        boxes: in pixels of the image that the network was given.
        scores: from 0 to 1.
        classes: from 0.
        valid: which rows are there; what others hold means nothing.
        masks: how sure it is of each position of a box that it is the object, from 0 to 1; None
            if the detector has no mask heads.
    """

    boxes: Float[Array, "b n 4"]
    scores: Float[Array, "b n"]
    classes: Int[Array, "b n"]
    valid: Bool[Array, "b n"]
    masks: Float[Array, "b n side side"] | None


class Pyramid(NamedTuple):
    """Features of a batch of images.

    Attributes:
        maps: from fine to coarse.
        sizes: of each image in each map, height and width; None if all of a map is an image's.
    """

    maps: tuple[Float[Array, "b _h _w c"], ...]
    sizes: tuple[Int[Array, "b 2"], ...] | None


class HeadOutputs(NamedTuple):
    """What the stages of box heads say of the proposals of a batch.

    Attributes:
        regions: the boxes that each stage looked at.
        logits: of each stage, the background last.
        deltas: of each stage, of each class or of all alike.
    """

    regions: tuple[Float[Array, "b n 4"], ...]
    logits: tuple[Float[Array, "b n classes_and_background"], ...]
    deltas: tuple[Float[Array, "b n classes_or_one 4"], ...]


class Detector(nnx.Module):
    """Boxes, classes and masks of the objects in images.

    Args:
        backbone: the network that returns a pyramid of features.
        neck: joins its levels.
        rpn_head: says where objects may be.
        box_heads: of each stage, say of a region its class and the object's box.
        mask_heads: of each stage; none for boxes alone.
        settings: by what is decided.
        reference_padding: whether all of the array is seen of each image, as mmdetection does: what
            is found in an image then depends on the size of the others. By default each image is
            seen as if it were alone, padded to its own multiple of 32 pixels.

    Raises:
        InputError: the numbers of heads and stages differ.
    """

    def __init__(
        self,
        backbone: ResNet,
        neck: FeaturePyramid,
        rpn_head: RPNHead,
        box_heads: Sequence[BoxHead],
        mask_heads: Sequence[MaskHead] = (),
        *,
        settings: DetectorSettings,
        reference_padding: bool = False,
    ):
        stages = len(settings.stages)
        if len(box_heads) != stages or len(mask_heads) not in (0, stages):
            raise InputError(
                f"there are {len(box_heads)} box heads and {len(mask_heads)} mask heads; expected "
                f"{stages}, one a stage, and as many mask heads or none"
            )
        self.backbone = backbone
        self.neck = neck
        self.rpn_head = rpn_head
        self.box_heads = nnx.List(box_heads)
        self.mask_heads = nnx.List(mask_heads)
        self.settings = settings
        self.reference_padding = reference_padding

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image to one position of each map of the pyramid."""
        fine = self.backbone.stage_strides
        return (*fine, *(fine[-1] * 2 ** (i + 1) for i in range(self.neck.num_outputs - len(fine))))

    def __call__(
        self, images: Float[Array, "b h w 3"], sizes: Integer[Array, "b 2"] | None = None
    ) -> Detections:
        """Detects objects.

        Args:
            images: normalised RGB; height and width are multiples of 32.
            sizes: (height, width) of images of several sizes that lie at the top left of their
                arrays, zero around them; without them the images fill the arrays.

        Raises:
            InputError: the images are not normalised, or images or sizes have another shape.
        """
        given, sizes = sizes, self.check(images, sizes)
        pyramid = self.pyramid(images, given)
        proposals = self.propose(self.rpn(pyramid), sizes, self.settings.proposals)
        outputs = self.look(pyramid, proposals, sizes)
        boxes, scores, classes, valid = self.detect(outputs, proposals.valid, sizes)
        masks = self.masks(pyramid, boxes, classes) if self.mask_heads else None
        return Detections(boxes, scores, classes, valid, masks)

    def pyramid(
        self, images: Float[Array, "b h w 3"], sizes: Integer[Array, "b 2"] | None
    ) -> Pyramid:
        """The features of images of some sizes, or of images that fill their arrays."""
        if sizes is None or self.reference_padding:
            return Pyramid(self.neck(self.backbone(images)), None)
        sizes, mask = padded(sizes), inside(padded(sizes), images.shape[1:3])
        masks = [mask[:, ::stride, ::stride] for stride in self.backbone.stage_strides]
        maps = self.neck(self.backbone(images, mask), masks)
        return Pyramid(maps, tuple(-(-sizes // stride) for stride in self.strides))

    def rpn(self, pyramid: Pyramid) -> list[Level]:
        """What the region proposal network says of each level."""
        return [Level(*self.rpn_head(x)) for x in pyramid.maps]

    def propose(
        self, levels: Sequence[Level], sizes: Integer[Array, "b 2"], settings: ProposalSettings
    ) -> Proposals:
        """Proposes boxes for each image."""
        scale = self.settings.anchor_scale

        def of_image(levels, size, seen):
            return propose(levels, self.strides, size, seen, settings, anchor_scale=scale)

        seen = self.seen_sizes(sizes, _array_size(levels[0], self.strides[0]))
        return on_own_images(jax.vmap(of_image))(list(levels), sizes, seen)

    def look(
        self, pyramid: Pyramid, proposals: Proposals, sizes: Integer[Array, "b 2"]
    ) -> HeadOutputs:
        """What the stages of box heads say, each of the regions that the one before made."""
        boxes, regions, logits, deltas = proposals.boxes, [], [], []
        for index in range(len(self.box_heads)):
            if index:
                boxes = self.refine(index - 1, boxes, logits[-1], deltas[-1], sizes)
            of_classes, of_boxes = self.say(index, pyramid, boxes)
            regions.append(boxes)
            logits.append(of_classes)
            deltas.append(of_boxes)
        return HeadOutputs(tuple(regions), tuple(logits), tuple(deltas))

    def say(
        self, stage: int, pyramid: Pyramid, regions: Float[Array, "b n 4"]
    ) -> tuple[Float[Array, "b n classes_and_background"], Float[Array, "b n classes_or_one 4"]]:
        """The logits and deltas of a stage for regions."""
        head = self.box_heads[stage]
        logits, deltas = head(self.features(pyramid, regions, head.bins))
        rows = regions.shape[:2]
        return logits.reshape(*rows, -1), deltas.reshape(*rows, -1, 4)

    def refine(
        self,
        stage: int,
        regions: Float[Array, "b n 4"],
        logits: Float[Array, "b n classes_and_background"],
        deltas: Float[Array, "b n classes_or_one 4"],
        sizes: Integer[Array, "b 2"],
    ) -> Float[Array, "b n 4"]:
        """The boxes that a stage makes of its regions, each for its likeliest class."""
        likeliest = jnp.argmax(logits[..., :-1], axis=-1)
        mine = jnp.minimum(likeliest, deltas.shape[2] - 1)[..., None, None]
        chosen = jnp.take_along_axis(deltas, mine, axis=2)[:, :, 0]
        coder = self.settings.stages[stage].coder
        return jax.vmap(coder.decode)(regions, chosen, sizes)

    def detect(
        self, outputs: HeadOutputs, valid: Bool[Array, "b n"], sizes: Integer[Array, "b 2"]
    ) -> tuple[Float[Array, "b k 4"], Float[Array, "b k"], Int[Array, "b k"], Bool[Array, "b k"]]:
        """Boxes, scores, classes and validity of the detections of each image.

        The classes are those that the stages say on the average, the boxes those of the last.
        """
        logits = sum(outputs.logits[1:], outputs.logits[0]) / len(outputs.logits)
        scores = jax.nn.softmax(logits, axis=-1)[..., :-1]
        coder, rules = self.settings.stages[-1].coder, self.settings.detections

        def of_image(regions, deltas, scores, valid, size):
            boxes = coder.decode(regions[:, None], deltas, size)
            kept = suppress_by_class(
                boxes if boxes.shape[1] > 1 else boxes[:, 0],
                scores,
                valid,
                score_threshold=rules.score_threshold,
                threshold=rules.threshold,
                limit=rules.count,
            )
            rows, classes = jnp.divmod(kept.indices, scores.shape[1])
            rows, classes = (jnp.where(kept.valid, x, 0) for x in (rows, classes))
            mine = boxes[rows, jnp.minimum(classes, boxes.shape[1] - 1)]
            best = jnp.where(kept.valid, scores[rows, classes], 0)
            return jnp.where(kept.valid[:, None], mine, 0), best, classes, kept.valid

        last = outputs.regions[-1], outputs.deltas[-1]
        return on_own_images(jax.vmap(of_image))(*last, scores, valid, sizes)

    def masks(
        self, pyramid: Pyramid, boxes: Float[Array, "b n 4"], classes: Int[Array, "b n"]
    ) -> Float[Array, "b n side side"]:
        """The masks of objects in their boxes, on the average of the stages."""
        features = self.features(pyramid, boxes, MASK_BINS)
        channel = classes.reshape(-1, 1, 1, 1)
        of_stages = [
            jax.nn.sigmoid(jnp.take_along_axis(head(features), channel, axis=-1)[..., 0])
            for head in self.mask_heads
        ]
        masks = sum(of_stages[1:], of_stages[0]) / len(of_stages)
        return masks.reshape(*boxes.shape[:2], *masks.shape[1:])

    def features(
        self, pyramid: Pyramid, boxes: Float[Array, "b n 4"], bins: int
    ) -> Float[Array, "b_n bins bins c"]:
        """The features in boxes, each from the level for its size."""
        levels = slice(LEVELS_OF_REGIONS)
        strides = self.strides[levels]

        def of_images(maps, sizes, boxes):
            batch, count = boxes.shape[:2]
            boxes = boxes.reshape(-1, 4)
            return roi_align(
                maps,
                boxes,
                jnp.repeat(jnp.arange(batch), count),
                region_levels(boxes, levels=LEVELS_OF_REGIONS),
                strides=strides,
                bins=bins,
                sizes=sizes,
            )

        sizes = None if pyramid.sizes is None else pyramid.sizes[levels]
        return on_own_images(of_images)(pyramid.maps[levels], sizes, boxes)

    def check(
        self, images: Float[Array, "b h w 3"], sizes: Integer[Array, "b 2"] | None
    ) -> Integer[Array, "b 2"]:
        """The sizes of images, which are those of the array if they are None.

        Raises:
            InputError: as `__call__`.
        """
        check_normalized(images)
        check_sizes(sizes, images)
        height, width = images.shape[1:3]
        if height % DIVISOR or width % DIVISOR:
            raise InputError(
                f"the images are {height}x{width}; expected multiples of {DIVISOR}, zero below and "
                "to the right of images that are smaller"
            )
        if sizes is None:
            return jnp.broadcast_to(jnp.array([height, width]), (images.shape[0], 2))
        return jnp.asarray(sizes)

    def seen_sizes(
        self, sizes: Integer[Array, "b 2"], array_size: tuple[int, int]
    ) -> Integer[Array, "b 2"]:
        """The size of each image with the padding that it is seen with."""
        if not self.reference_padding:
            return padded(sizes)
        return jnp.broadcast_to(jnp.array(array_size), sizes.shape)


def _array_size(finest: Level, stride: int) -> tuple[int, int]:
    height, width = finest.logits.shape[1:3]
    return height * stride, width * stride


def padded(sizes: Integer[Array, "b 2"]) -> Integer[Array, "b 2"]:
    """Sizes rounded up to what images are padded to."""
    return -(-sizes // DIVISOR) * DIVISOR
