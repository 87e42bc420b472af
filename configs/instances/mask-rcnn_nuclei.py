"""A narrow Mask R-CNN with global context blocks for many small objects, from scratch.

    gcnet prepare_dataset coco_json --name=nuclei --train_json=nuclei/instances_train.json \\
        --train_images=nuclei/images --val_json=nuclei/instances_val.json
    gcnet train --config=mask-rcnn_nuclei:nuclei --workdir=runs/nuclei
    gcnet evaluate runs/nuclei
    gcnet predict runs/nuclei nuclei/images --output_dir=predictions

For two CPU cores, microscope images above all, and any json in COCO's format that has masks. Images
are resized to fit 256x256, in which anchors are of 16 pixels and more, and up to 200 objects are
found in each.
"""

from gcnet_jax.tasks.detection.config import default_config


def get_config(data_set=""):
    config = default_config()
    model = config.model
    model.backbone.depth, model.backbone.base_channels = 18, 16
    model.backbone.context.block = "global_context"
    model.backbone.context.position = "after_add"
    model.backbone.context.stages = (1, 2, 3)
    model.backbone.context.global_context.ratio = 1 / 4
    model.neck.channels = model.rpn.channels = 48
    model.box_head.channels = 128
    model.mask_head.channels, model.mask_head.convolutions = 32, 2
    model.rpn.anchor_scale = 4.0  # of 16 pixels and more
    model.rpn.train.nms_pre, model.rpn.train.max_per_image = 300, 200
    model.rpn.test.nms_pre, model.rpn.test.max_per_image = 500, 400
    model.box_head.train.samples, model.box_head.train.positive_fraction = 128, 0.5
    model.test.max_per_image = 200

    config.data.name = data_set
    config.data.base_scale = (256, 256)
    config.data.min_size = 1
    config.data.num_workers = 0

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.final_learning_rate = 0.0
    config.optimizer.warmup_steps = 50
    config.optimizer.clip_norm = 10.0
    config.training.total_steps = 1200
    config.training.batch_size = 4
    config.training.log_every = 20
    config.training.evaluate_every = 300
    config.training.checkpoint_every = 100

    config.evaluation.split = ""  # val, or test where there is no other
    config.evaluation.batch_size = 4
    return config
