"""The keys that the configs of all tasks have, with the defaults of the published runs."""

from collections.abc import Callable

from ml_collections import ConfigDict

from gcnet_jax.config.image_files import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS
from gcnet_jax.config.ranges import Flag, Number, OneOf, Several, Text, Whole, pair
from gcnet_jax.config.schema import Leaf, Schema, Section, joined

_COUNT = Whole(1)
_SHARE = Number(0, 1)
_FOLDER = Text(r"[\s\S]+", "a folder, as text without control characters; . is the current one")

SHARED: Section = {
    "published_run": Leaf("", Text(), "the run whose weights `published` means, if there is one"),
    "variant": Leaf("", Text(), "of an ablation, as `gcnet_jax.analysis.VARIANTS` calls it"),
    "seed": Leaf(0, Whole(0), "of the initial weights, the data order, augmentation and dropout"),
    "model": {},
    "data": {
        "name": Leaf("", Text(), "of the data set, as given to `gcnet prepare_dataset`"),
        "data_dir": Leaf("data", _FOLDER, "where `gcnet prepare_dataset` has put it"),
        "train_split": Leaf("train", Text(), "split to train on"),
        "max_image_pixels": Leaf(
            MAX_IMAGE_PIXELS, Whole(1, MOST_IMAGE_PIXELS), "of a file that `gcnet predict` reads"
        ),
        "num_workers": Leaf(4, Whole(0, 1024), "processes that prepare batches; 0: threads only"),
    },
    "optimizer": {
        "name": Leaf("sgd", OneOf("sgd", "adamw"), "with momentum, or AdamW"),
        "learning_rate": Leaf(0.01, Number(0, excluded=(0,)), "after warm-up, before any decay"),
        "schedule": Leaf(
            "poly", OneOf("poly", "steps", "cosine"), "how the learning rate falls after warm-up"
        ),
        "final_learning_rate": Leaf(1e-4, Number(0), "of the last step, of poly and cosine"),
        "power": Leaf(0.9, Number(0, 100), "of poly"),
        "milestones": Leaf((), Several(_COUNT), "of steps: the rate falls after so many steps"),
        "decay_factor": Leaf(0.1, _SHARE, "of steps: what the rate is multiplied by then"),
        "warmup_steps": Leaf(0, Whole(0), "in which the rate rises linearly; 0: none"),
        "warmup_ratio": Leaf(0.001, _SHARE, "of the learning rate, where warm-up starts"),
        "momentum": Leaf(0.9, Number(0, 1, excluded=(1,)), "of sgd"),
        "betas": Leaf((0.9, 0.999), pair(Number(0, 1, excluded=(1,))), "of adamw"),
        "weight_decay": Leaf(5e-4, _SHARE, "of sgd added to the gradient, of adamw decoupled"),
        "decay_norms_and_biases": Leaf(True, Flag(), "whether they decay as all other parameters"),
        "clip_norm": Leaf(0.0, Number(0), "largest norm of all gradients together; 0: any"),
        "ema_decay": Leaf(
            0.0,
            Number(0, 1, excluded=(1,)),
            "of the moving average of the parameters that is evaluated and kept; 0: none",
        ),
    },
    "training": {
        "total_steps": Leaf(40_000, Whole(0), "of the optimizer; 0: counted in epochs"),
        "batch_size": Leaf(8, Whole(1, 1 << 20), "images in a step, over all devices of all hosts"),
        "accumulation_steps": Leaf(
            1, Whole(1, 1 << 20), "the batch is worked through in so many parts"
        ),
        "pictures": Leaf(
            4, Whole(0, 64), "images shown of the first batch and at each evaluation; 0: none"
        ),
        "log_every": Leaf(50, _COUNT, "steps"),
        "evaluate_every": Leaf(4000, Whole(0), "steps; 0: counted in epochs"),
        "checkpoint_every": Leaf(2000, Whole(0), "steps; 0: counted in epochs"),
        "keep_newest": Leaf(2, _COUNT, "checkpoints, beside the best one"),
        "init_from": Leaf("", Text(), "a checkpoint of any kind, or a published one by name"),
        "init_part": Leaf(
            "backbone", OneOf("backbone", "model"), "what to take of it; model: everything"
        ),
    },
    "epochs": {
        "total": Leaf(0, Whole(0), "of the run, in place of training.total_steps"),
        "warmup": Leaf(0, Whole(0), "in place of optimizer.warmup_steps"),
        "milestones": Leaf((), Several(_COUNT), "in place of optimizer.milestones"),
        "evaluate_every": Leaf(0, Whole(0), "in place of training.evaluate_every"),
        "checkpoint_every": Leaf(0, Whole(0), "in place of training.checkpoint_every"),
        "steps": Leaf(0, Whole(0), "of an epoch; 0: the batches that hold all training images"),
    },
    "parallel": {
        "spatial": Leaf(1, Whole(1, 1 << 16), "devices that split each image, by its height"),
        "fsdp": Leaf(False, Flag(), "parameters and optimizer state spread over the devices"),
    },
    "evaluation": {
        "split": Leaf(
            "val", Text(), "split to evaluate on; empty: val, or test of a data set without it"
        ),
        "batch_size": Leaf(8, Whole(1, 1 << 20), "images at a time, over all devices"),
    },
}
"""Every key but those of a task's own, by section."""


def task_schema(name: str, own: Section, check: Callable[[ConfigDict], None]) -> Schema:
    """The schema of a task's configs: what all have, and what is the task's own.

    Args:
        name: what configs call the task.
        own: its keys, in sections that may have the names of shared ones.
        check: raises InputError unless the values of a config, each in its range, fit together as
            far as the task's own keys go.
    """
    task: Section = {"task": Leaf(name, Text(r"[\w.]+", "the name of a task"), "what is learnt")}
    return Schema(name, joined({**task, **SHARED}, own), check)
