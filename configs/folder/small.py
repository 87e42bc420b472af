"""GCNet on half a ResNet-18 for photos and masks of one's own: from scratch, on two CPU cores.

    printf '%s\\n' name background leaf pot > classes.csv
    gcnet prepare_dataset folder --name=plants --source=plants --classes=classes.csv \\
        --images='images/*' --masks='masks/*'
    gcnet train --config=small:plants --workdir=runs/plants
    gcnet evaluate runs/plants
    gcnet predict runs/plants plants/images --output_dir=predictions

A few dozen photos of any sizes are enough to begin with. They are seen at 320 pixels along the
longer edge, in training at half to twice that; docs/data.md says what to change for finer things.
"""

from gcnet_jax.tasks.segmentation.build_model import model_config
from gcnet_jax.tasks.segmentation.config import default_config


def get_config(data_set=""):
    config = default_config()
    config.model = model_config("gcnet_r18-d16")
    config.model.backbone.base_channels = 32

    config.data.name = data_set
    config.data.base_scale = (320, 320)
    config.data.crop_size = (224, 224)
    config.data.cat_max_ratio = 0.95  # of two classes one is often nearly everywhere
    config.data.num_workers = 0

    config.optimizer.learning_rate = 0.05
    config.training.total_steps = 500
    config.training.batch_size = 8
    config.training.log_every = 10
    config.training.evaluate_every = 100
    config.training.checkpoint_every = 100

    config.evaluation.split = ""  # val, or test where there is no other
    config.evaluation.batch_size = 4
    return config
