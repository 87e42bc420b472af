"""Half a ResNet-18 with global context blocks for photos in folders of their classes, from scratch.

    gcnet prepare_dataset class_folders --name=flowers --source=flowers
    gcnet train --config=photos:flowers --workdir=runs/flowers
    gcnet evaluate runs/flowers
    gcnet predict runs/flowers flowers/rose --output_dir=predictions

For two CPU cores, and a few hundred photos of any sizes to begin with. They are seen at 128 pixels.
A source with train/ and test/ alone is evaluated on the latter.
"""

from gcnet_jax.tasks.classification.config import default_config


def get_config(data_set=""):
    config = default_config()
    config.model.backbone.depth = 18
    config.model.backbone.base_channels = 32
    config.model.backbone.context.block = "global_context"
    config.model.backbone.context.position = "after_add"  # of blocks without a bottleneck
    config.model.backbone.context.stages = (1, 2, 3)

    config.data.name = data_set
    config.data.resize_size = 144
    config.data.crop_size = 128
    config.data.scale_range = (0.35, 1.0)  # less than that seldom shows what a photo is of
    config.data.num_workers = 0

    config.optimizer.schedule = "cosine"
    config.optimizer.learning_rate = 0.05
    config.optimizer.final_learning_rate = 0.0
    config.optimizer.warmup_steps = 50
    config.training.total_steps = 1000
    config.training.batch_size = 32
    config.training.log_every = 10
    config.training.evaluate_every = 200
    config.training.checkpoint_every = 200

    config.evaluation.split = ""  # val, or test where there is no other
    config.evaluation.batch_size = 32
    return config
