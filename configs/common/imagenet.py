"""Data and schedule of the runs on ImageNet: 1,281,167 images of 1000 classes, batch 256."""

from gcnet_jax.tasks.classification.config import default_config


def get_config():
    """ResNet-50 as torchvision has it, 100 epochs, the rate falling by a cosine from 0.1.

    A usual schedule, chosen here: the published figures are of the authors' own training.
    """
    config = default_config()
    config.data.name = "imagenet"
    config.data.num_workers = 16
    config.optimizer.schedule = "cosine"
    config.optimizer.learning_rate = 0.1
    config.optimizer.final_learning_rate = 0.0
    config.optimizer.weight_decay = 1e-4
    config.training.batch_size = 256
    config.training.total_steps = 0
    config.training.evaluate_every = 0
    config.training.checkpoint_every = 0
    config.epochs.total = 100
    config.epochs.warmup = 5
    config.epochs.evaluate_every = 5
    config.epochs.checkpoint_every = 1
    config.evaluation.batch_size = 256
    return config


def with_block(config, block, *, ratio=None):
    """Context blocks behind the last convolution of all residual blocks of c3, c4 and c5.

    Args:
        config: of the run.
        block: what configs call it.
        ratio: of the bottleneck, of blocks that have one.
    """
    context = config.model.backbone.context
    context.block = block
    if ratio is not None:
        context[block].ratio = ratio
    return config
