"""Networks and schedule of the runs on COCO: 117,266 images with objects, 80 classes, batch 16."""

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.config import default_config

_SCHEDULES = {"1x": (12, 8, 11), "20e": (20, 16, 19), "2x": (24, 16, 22)}
"""Epochs in all, and those after which the rate falls, by mmdetection's names."""


def mask_rcnn(run, schedule):
    """Mask R-CNN with ResNet-50, trained with the normalisation it starts with.

    Args:
        run: the name of the published run.
        schedule: 1x, the published one; 20e or 2x.
    """
    if schedule not in _SCHEDULES:
        raise InputError(f"there is no schedule {schedule!r}; expected {', '.join(_SCHEDULES)}")
    total, *milestones = _SCHEDULES[schedule]
    config = default_config()
    config.published_run = run
    config.data.name = "coco"
    config.model.backbone.frozen_stages = 1
    config.model.backbone.norm_eval = True
    config.optimizer.learning_rate = 0.02
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "steps"
    config.optimizer.warmup_steps = 500
    config.training.init_from = "resnet50_v1b"
    config.training.batch_size = 16
    config.training.total_steps = 0
    config.training.evaluate_every = 0
    config.training.checkpoint_every = 0
    config.epochs.total = total
    config.epochs.milestones = tuple(milestones)
    config.epochs.evaluate_every = 1
    config.epochs.checkpoint_every = 1
    return config


def cascade_mask_rcnn(run, schedule):
    """Three stages of heads, each for regions that fit better, each from the boxes before."""
    config = mask_rcnn(run, schedule)
    rpn, head = config.model.rpn, config.model.box_head
    rpn.train.max_per_image = 2000
    rpn.train.allowed_border = 0
    rpn.train.smooth_l1_beta = 1 / 9
    head.class_agnostic = True
    head.center_stds = (0.1, 0.05, 0.033)
    head.size_stds = (0.2, 0.1, 0.067)
    head.train.iou_thresholds = (0.5, 0.6, 0.7)
    head.train.low_quality_matches = False
    head.train.loss_weights = (1.0, 0.5, 0.25)
    head.train.smooth_l1_beta = 1.0
    return config


def with_resnet101(config):
    """ResNet-101 in place of ResNet-50."""
    config.model.backbone.depth = 101
    config.training.init_from = "resnet101_v1b"
    return config


def with_resnext101(config):
    """ResNeXt-101 of 32 groups of 4 channels in place of ResNet-50."""
    config.model.backbone.groups, config.model.backbone.base_width = 32, 4
    config = with_resnet101(config)
    config.training.init_from = "resnext101_32x4d"
    return config


def with_batch_statistics(config):
    """Batch normalisation by the statistics of the whole batch (the reference's SyncBN)."""
    config.model.backbone.norm_eval = False
    return config


def with_global_context(config, ratio):
    """Global context blocks behind the last convolution of all residual blocks of c3 to c5."""
    context = config.model.backbone.context
    context.block = "global_context"
    context.global_context.ratio = ratio
    return config


def with_deformable_convolutions(config):
    """Deformable convolutions in all residual blocks of c3 to c5."""
    config.model.backbone.deformable_stages = (1, 2, 3)
    return config
