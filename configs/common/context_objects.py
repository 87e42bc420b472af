"""Data, network and schedule of the runs on context_objects: small enough for two CPU cores."""

from gcnet_jax.tasks.detection.config import default_config


def mask_rcnn():
    """A narrow Mask R-CNN whose regions see little of the image around them."""
    config = default_config()
    model = config.model
    # The first stage of a narrow ResNet-18. Few layers keep the receptive field small: what a
    # network without context sees from an object ends before the cue that decides its class.
    model.backbone.depth = 18
    model.backbone.num_stages = 1
    model.backbone.base_channels = 16
    model.neck.channels = model.rpn.channels = 32
    model.box_head.channels = 64
    model.mask_head.channels = 16
    model.mask_head.convolutions = 1
    model.rpn.anchor_scale = 4.0
    for proposals in (model.rpn.train, model.rpn.test):
        proposals.nms_pre, proposals.max_per_image = 100, 40
    model.rpn.train.samples = 64
    # Half of the regions are of objects, for it is their classes that are hard to learn. The
    # gradient of an absolute error is as large near the right box as far from it, and would drown
    # what little the classes say of the sky at first; that of a square ends.
    model.box_head.train.samples, model.box_head.train.positive_fraction = 64, 0.5
    model.box_head.train.smooth_l1_beta = 1.0
    model.box_head.class_agnostic = True
    model.test.max_per_image = 20

    config.data.name = "context_objects"
    config.data.base_scale = (160, 64)
    config.data.num_workers = 0

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 0.006
    config.optimizer.weight_decay = 1e-4
    config.optimizer.clip_norm = 10.0
    config.optimizer.schedule = "cosine"
    config.optimizer.final_learning_rate = 1e-6
    config.optimizer.warmup_steps = 50
    config.training.total_steps = 1000
    config.training.batch_size = 8
    config.training.log_every = 50
    config.training.evaluate_every = 500
    config.training.checkpoint_every = 500

    config.evaluation.batch_size = 20
    config.evaluation.max_buckets = 1
    return config


def with_block(config):
    """A global context block behind each residual block."""
    context = config.model.backbone.context
    context.block = "global_context"
    context.stages = (0,)
    context.position = "after_add"
    # A quarter of 16 channels would be a narrow bottleneck.
    context.global_context.ratio = 1.0
    return config
