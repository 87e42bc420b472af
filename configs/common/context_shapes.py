"""Data and schedule of the runs on context_shapes: small enough for two CPU cores."""

from gcnet_jax.tasks.segmentation.config import default_config


def get_config():
    config = default_config()
    # The first stage of a narrow ResNet-18. Few layers keep the receptive field small: what a
    # network without context sees from a shape ends before the cue that decides its class.
    config.model.backbone.depth = 18
    config.model.backbone.num_stages = 1
    config.model.backbone.base_channels = 16
    config.model.decode_head.stage = 0
    config.model.decode_head.channels = 32
    config.model.decode_head.dropout_rate = 0.0
    # A quarter of 32 channels would be a narrow bottleneck: it learns, but later and less surely.
    config.model.decode_head.context.global_context.ratio = 1.0
    config.model.auxiliary_head.enabled = False

    config.data.name = "context_shapes"
    config.data.base_scale = (128, 64)
    config.data.scale_range = (1.0, 1.0)
    config.data.crop_size = (64, 128)
    config.data.cat_max_ratio = 1.0
    config.data.photometric_distortion = False
    config.data.num_workers = 0

    # At 0.5 some seeds take 500 steps to notice the cue, and others never do.
    config.optimizer.learning_rate = 0.3
    config.training.total_steps = 700
    config.training.batch_size = 16
    config.training.log_every = 20
    config.training.evaluate_every = 100
    config.training.checkpoint_every = 100

    config.evaluation.batch_size = 16
    return config
