"""What a detector decides by: thresholds, counts and weights, with the values of Mask R-CNN."""

import dataclasses

from ml_collections import ConfigDict

from gcnet_jax.tasks.detection.boxes.coder import BoxCoder


@dataclasses.dataclass(frozen=True)
class ProposalSettings:
    """How the region proposal network's boxes are chosen (mmdetection's `rpn` and `rpn_proposal`).

    Attributes:
        per_level: how many of the best of each level are candidates.
        count: how many are proposed at most.
        threshold: overlap above which the better of two boxes suppresses the other.
    """

    per_level: int
    count: int
    threshold: float = 0.7


@dataclasses.dataclass(frozen=True)
class AssignmentSettings:
    """When a box is for an object, and when for the background (`MaxIoUAssigner`).

    Attributes:
        positive: overlap from which a box is for an object.
        negative: overlap below which it is for the background.
        minimum_positive: overlap that a box needs to be for an object as its best one.
        low_quality: whether the best boxes of an object are for it whatever `positive` says.
    """

    positive: float
    negative: float
    minimum_positive: float
    low_quality: bool = True


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How many boxes of an image a loss is made of (`RandomSampler`).

    Attributes:
        count: how many.
        positive_fraction: the largest share of those that are for an object.
    """

    count: int
    positive_fraction: float


@dataclasses.dataclass(frozen=True)
class RPNTraining:
    """The loss of the region proposal network.

    Attributes:
        assignment: of anchors to objects.
        sampling: of anchors.
        allowed_border: by how many pixels an anchor may lie outside the image; any if negative.
        beta: where the loss of a coordinate goes over from square to absolute; 0 is absolute.
    """

    assignment: AssignmentSettings = AssignmentSettings(0.7, 0.3, 0.3)
    sampling: SamplingSettings = SamplingSettings(256, 0.5)
    allowed_border: int = -1
    beta: float = 0.0


@dataclasses.dataclass(frozen=True)
class RegionStage:
    """A stage of the heads: Mask R-CNN has one, Cascade R-CNN three.

    Attributes:
        coder: of its boxes.
        assignment: of regions to objects.
        weight: of its losses.
        beta: as in `RPNTraining`.
    """

    coder: BoxCoder = dataclasses.field(default_factory=lambda: BoxCoder(stds=(0.1, 0.1, 0.2, 0.2)))
    assignment: AssignmentSettings = AssignmentSettings(0.5, 0.5, 0.5)
    weight: float = 1.0
    beta: float = 0.0


@dataclasses.dataclass(frozen=True)
class DetectionSettings:
    """When a box is a detection (mmdetection's `test_cfg.rcnn`).

    Attributes:
        score_threshold: score that a detection must exceed.
        threshold: overlap above which the better of two boxes of a class suppresses the other.
        count: of detections of an image at most.
    """

    score_threshold: float = 0.05
    threshold: float = 0.5
    count: int = 100


@dataclasses.dataclass(frozen=True)
class DetectorSettings:
    """All that a detector decides by.

    Attributes:
        anchor_scale: the side of a square anchor in strides of its map.
        proposals: in inference.
        training_proposals: in training.
        rpn_training: the loss of the region proposal network.
        stages: of the heads.
        sampling: of the regions that the heads are trained with.
        detections: in inference.
    """

    anchor_scale: float = 8.0
    proposals: ProposalSettings = ProposalSettings(1000, 1000)
    training_proposals: ProposalSettings = ProposalSettings(2000, 1000)
    rpn_training: RPNTraining = RPNTraining()
    stages: tuple[RegionStage, ...] = (RegionStage(),)
    sampling: SamplingSettings = SamplingSettings(512, 0.25)
    detections: DetectionSettings = DetectionSettings()


def settings_of(config: ConfigDict) -> DetectorSettings:
    """What the `model` section of a config says to decide by."""
    rpn, head, test = config.rpn, config.box_head, config.test
    stages = zip(
        head.center_stds,
        head.size_stds,
        head.train.iou_thresholds,
        head.train.loss_weights,
        strict=True,
    )
    return DetectorSettings(
        anchor_scale=rpn.anchor_scale,
        proposals=_proposals(rpn.test),
        training_proposals=_proposals(rpn.train),
        rpn_training=RPNTraining(
            AssignmentSettings(
                rpn.train.positive_iou, rpn.train.negative_iou, rpn.train.minimum_positive_iou
            ),
            SamplingSettings(rpn.train.samples, rpn.train.positive_fraction),
            rpn.train.allowed_border,
            rpn.train.smooth_l1_beta,
        ),
        stages=tuple(
            RegionStage(
                BoxCoder(stds=(center, center, size, size)),
                AssignmentSettings(overlap, overlap, overlap, head.train.low_quality_matches),
                weight,
                head.train.smooth_l1_beta,
            )
            for center, size, overlap, weight in stages
        ),
        sampling=SamplingSettings(head.train.samples, head.train.positive_fraction),
        detections=DetectionSettings(test.score_threshold, test.iou_threshold, test.max_per_image),
    )


def _proposals(config: ConfigDict) -> ProposalSettings:
    return ProposalSettings(config.nms_pre, config.max_per_image, config.iou_threshold)
