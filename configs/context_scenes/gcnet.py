"""A narrow ResNet with a global context block tells scenes apart that need no download.

gcnet prepare_dataset context_scenes
gcnet train --config=context_scenes/gcnet --workdir=runs/scenes
"""

from gcnet_jax.tasks.classification.config import default_config


def get_config():
    config = default_config()
    config.data.name = "context_scenes"
    config.data.crop_size = config.data.resize_size = 64
    # Whole images: the sky, which decides, lies at their edge.
    config.data.scale_range = config.data.ratio_range = (1.0, 1.0)
    config.data.num_workers = 0  # such images are drawn up faster than they are handed over
    config.model.backbone.depth = 18
    config.model.backbone.base_channels = 16
    config.model.backbone.num_stages = 3
    config.model.backbone.context.block = "global_context"
    config.model.backbone.context.global_context.ratio = 1 / 4
    config.model.backbone.context.position = "after_add"
    config.model.backbone.context.stages = (1, 2)
    config.optimizer.schedule = "cosine"
    config.optimizer.learning_rate = 0.1
    config.optimizer.final_learning_rate = 0.0
    config.optimizer.warmup_steps = 50
    config.training.total_steps = 1000
    config.training.batch_size = 64
    config.training.log_every = 50
    config.training.evaluate_every = 200
    config.training.checkpoint_every = 200
    config.evaluation.batch_size = 100
    return config
