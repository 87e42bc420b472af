"""A narrow Mask R-CNN with global context blocks for many small objects, from scratch.

    gcnet prepare_dataset coco_json --name=nuclei --train_json=nuclei/instances_train.json \\
        --train_images=nuclei/images --val_json=nuclei/instances_val.json
    gcnet train --config=mask-rcnn_nuclei:nuclei --workdir=runs/nuclei
    gcnet evaluate runs/nuclei
    gcnet predict runs/nuclei nuclei/images --output_dir=predictions

For two CPU cores, microscope images above all, and any json in COCO's format that has masks. Images
fit 256x256, and hold up to 400 objects.
"""

from gcnet_jax.tasks.detection.config import default_config


def get_config(data_set=""):
    config = default_config()
    backbone = config.model.backbone
    backbone.depth, backbone.base_channels = 18, 32
    backbone.context.block = "global_context"
    backbone.context.position = "after_conv2"
    backbone.context.stages = (1, 2, 3)
    backbone.context.global_context.ratio = 1 / 4
    config.model.neck.channels = config.model.rpn.channels = 64
    config.model.rpn.anchor_scale = 4.0  # of 16 pixels and more
    config.model.rpn.train.nms_pre = 1000
    config.model.rpn.train.max_per_image = 500
    config.model.box_head.channels = 256
    config.model.box_head.train.samples = 256
    config.model.mask_head.channels, config.model.mask_head.convolutions = 64, 2
    config.model.test.max_per_image = 400

    config.data.name = data_set
    config.data.base_scale = (256, 256)
    config.data.min_size = 1
    config.data.num_workers = 0

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.schedule = "cosine"
    config.optimizer.final_learning_rate = 0.0
    config.optimizer.warmup_steps = 100
    config.optimizer.clip_norm = 5.0
    config.training.total_steps = 2000
    config.training.batch_size = 4
    config.training.log_every = 20
    config.training.evaluate_every = 500
    config.training.checkpoint_every = 250

    config.evaluation.split = ""  # val, or test where there is no other
    config.evaluation.batch_size = 4
    return config
