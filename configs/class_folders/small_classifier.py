"""A narrow ResNet-18 with global context blocks for photos in folders of their classes.

From scratch, on two CPU cores. Photos lie in flowers/CLASS/, or in flowers/train/CLASS/ and
flowers/val/CLASS/:

    gcnet prepare_dataset class_folders --name=flowers --source=flowers
    gcnet train --config=small_classifier:flowers --workdir=runs/flowers
    gcnet evaluate runs/flowers
    gcnet predict runs/flowers photo.jpg --output_dir=predictions

Photos of any sizes are seen at 96 pixels: for finer things raise `data.crop_size` and
`data.resize_size`, for more photos `training.total_steps`.
"""

from gcnet_jax.tasks.classification.config import default_config


def get_config(data_set=""):
    config = default_config()
    config.model.backbone.depth = 18
    config.model.backbone.base_channels = 32
    config.model.backbone.context.block = "global_context"
    config.model.backbone.context.position = "after_add"
    config.model.backbone.context.stages = (2, 3)

    config.data.name = data_set
    config.data.crop_size = 96
    config.data.resize_size = 112
    config.data.scale_range = (0.25, 1.0)  # what is in a photo seldom fits a smaller part of it
    config.data.num_workers = 0

    config.optimizer.schedule = "cosine"
    config.optimizer.learning_rate = 0.05
    config.optimizer.final_learning_rate = 0.0
    config.optimizer.warmup_steps = 50
    config.training.label_smoothing = 0.1
    config.training.total_steps = 1000
    config.training.batch_size = 32
    config.training.log_every = 20
    config.training.evaluate_every = 200
    config.training.checkpoint_every = 200

    config.evaluation.batch_size = 32
    return config
