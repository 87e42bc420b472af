"""Every key of a config: its default, that of the published runs, what it may be, and what it is.

A run's file starts from `default_config()` and sets what is its own. The result is locked, so that
a misspelt key fails where it is written, in the file or on the command line; `check_config` then
holds every value against its range here.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from gcnet_jax.config.image_files import MAX_IMAGE_PIXELS, MOST_IMAGE_PIXELS
from gcnet_jax.config.ranges import Flag, Number, OneOf, Range, Several, Text, Whole, pair

CONTEXT_BLOCKS = ("global_context", "non_local", "simplified_non_local", "squeeze_excite")
"""What configs call the context blocks of this library."""

_COUNT = Whole(1)
_CHANNELS = Whole(1, 1 << 16)
_STAGE = Whole(0, 3)
_PIXELS = Whole(1, 1 << 16)
_SHARE = Number(0, 1)
_DROPOUT = Number(0, 1, excluded=(1,))
_RATIO = Number(0, 1, excluded=(0,))
_FOLDER = Text(r"[\s\S]+", "a folder, as text without control characters; . is the current one")


class Leaf(NamedTuple):
    """A key that holds a value.

    Attributes:
        default: that of the published runs.
        range: what it may be.
        about: what it is, for people.
    """

    default: Any
    range: Range
    about: str


Section = dict[str, "Leaf | Section"]


def _context_block(block: str, *, ratio: float) -> Section:
    """Which context block stands in a place, and what each kind takes, under the kind's name."""
    return {
        "block": Leaf(
            block,
            Text(
                rf"({'|'.join(CONTEXT_BLOCKS)}|[^\s:]+:\w+)?",
                f"one of {', '.join(CONTEXT_BLOCKS)}, MODULE:CLASS for one of your own, "
                "or '' for none",
            ),
            "kind of context block in this place",
        ),
        "global_context": {
            "ratio": Leaf(ratio, _RATIO, "channels of the bottleneck, of the block's"),
            "pooling": Leaf("attention", OneOf("attention", "average"), "how positions are pooled"),
            "fusion": Leaf("add", OneOf("add", "multiply", "both"), "how context meets features"),
            "activation": Leaf(
                "layer_norm_relu",
                OneOf("layer_norm_relu", "relu", "none"),
                "what follows the first convolution of the bottleneck",
            ),
        },
        "non_local": {
            "mode": Leaf(
                "embedded_gaussian",
                OneOf("embedded_gaussian", "gaussian", "dot_product", "concatenation"),
                "how two positions are compared",
            ),
            "reduction": Leaf(2, _CHANNELS, "embeddings have so many times fewer channels"),
            "use_scale": Leaf(True, Flag(), "whether embedded_gaussian divides by a root"),
            "sub_sample": Leaf(False, Flag(), "max-pool keys and values by two first"),
        },
        "squeeze_excite": {
            "ratio": Leaf(ratio, _RATIO, "channels of the bottleneck, of the block's"),
            "gate": Leaf("hard_sigmoid", OneOf("hard_sigmoid", "sigmoid"), "function of the gate"),
        },
    }


SCHEMA: Section = {
    "published_run": Leaf("", Text(), "the run whose weights `published` means, if there is one"),
    "variant": Leaf("", Text(), "of an ablation, as `gcnet_jax.analysis.VARIANTS` calls it"),
    "seed": Leaf(0, Whole(0), "of the initial weights, the data order, augmentation and dropout"),
    "model": {
        "dtype": Leaf(
            "float32", OneOf("float32", "bfloat16"), "to compute in; bfloat16: on accelerators"
        ),
        "align_corners": Leaf(
            False, Flag(), "in resizing logits; true for the published runs of crop 769x769"
        ),
        "backbone": {
            "depth": Leaf(50, OneOf(18, 34, 50, 101), "of the ResNet"),
            "variant": Leaf("v1c", OneOf("v1b", "v1c", "v1d"), "of the ResNet"),
            "output_stride": Leaf(8, OneOf(8, 16, 32), "pixels to a position of the last stage"),
            "num_stages": Leaf(4, Whole(1, 4), "of the ResNet, from the first on"),
            "base_channels": Leaf(64, Whole(2, 1 << 12), "of the stem; later stages have more"),
            "remat_stages": Leaf(
                (),
                Several(_STAGE),
                "stages, counted from 0, that are computed again for their gradients, to need less "
                "memory",
            ),
            "context": {
                **_context_block("", ratio=1 / 16),
                "position": Leaf(
                    "after_conv3",
                    OneOf("after_conv1", "after_conv2", "after_conv3", "after_add"),
                    "behind which convolution of a residual block, or behind the sum",
                ),
                "stages": Leaf(
                    (1, 2, 3), Several(_STAGE), "counted from 0; c3, c4 and c5 of the papers"
                ),
                "residual_blocks": Leaf(
                    (), Several(Whole(-23, 22)), "which of a stage, such as (-2,); (): all"
                ),
            },
        },
        "decode_head": {
            "stage": Leaf(3, _STAGE, "of the backbone, counted from 0"),
            "channels": Leaf(512, _CHANNELS, "of its convolutions"),
            "num_convs": Leaf(2, Whole(1, 100), "3x3 convolutions before the classifier"),
            "concat_input": Leaf(True, Flag(), "fuse input and result by one convolution more"),
            "dropout_rate": Leaf(0.1, _DROPOUT, "of whole channels, before the classifier"),
            "context": _context_block("global_context", ratio=1 / 4),
        },
        "auxiliary_head": {
            "enabled": Leaf(True, Flag(), "train with a second, plain head"),
            "stage": Leaf(2, _STAGE, "of the backbone, counted from 0"),
            "channels": Leaf(256, _CHANNELS, "of its convolution"),
            "dropout_rate": Leaf(0.1, _DROPOUT, "of whole channels, before the classifier"),
        },
    },
    "data": {
        "name": Leaf("", Text(), "of the data set, as given to `gcnet prepare_dataset`"),
        "data_dir": Leaf("data", _FOLDER, "where `gcnet prepare_dataset` has put it"),
        "train_split": Leaf("train", Text(), "split to train on"),
        "base_scale": Leaf((2048, 1024), pair(_PIXELS), "(long edge, short edge) at ratio 1"),
        "scale_range": Leaf(
            (0.5, 2.0), pair(Number(0, 100, excluded=(0,))), "of that ratio, drawn for each image"
        ),
        "crop_size": Leaf((512, 1024), pair(_PIXELS), "(height, width) to train on"),
        "cat_max_ratio": Leaf(
            0.75, Number(0, 1, excluded=(0,)), "no class may cover more of a crop than this"
        ),
        "flip_probability": Leaf(0.5, _SHARE, "how often an image is mirrored, left to right"),
        "photometric_distortion": Leaf(True, Flag(), "change brightness, contrast and colours"),
        "max_image_pixels": Leaf(
            MAX_IMAGE_PIXELS, Whole(1, MOST_IMAGE_PIXELS), "of a file that `gcnet predict` reads"
        ),
        "num_workers": Leaf(4, Whole(0, 1024), "processes that prepare batches; 0: threads only"),
    },
    "optimizer": {
        "learning_rate": Leaf(0.01, Number(0, excluded=(0,)), "of the first step"),
        "final_learning_rate": Leaf(1e-4, Number(0), "of the last step"),
        "power": Leaf(0.9, Number(0, 100), "of the polynomial decay between the two"),
        "momentum": Leaf(0.9, Number(0, 1, excluded=(1,)), "of stochastic gradient descent"),
        "weight_decay": Leaf(5e-4, _SHARE, "added to the gradient of every parameter"),
    },
    "training": {
        "total_steps": Leaf(40_000, _COUNT, "of the optimizer"),
        "batch_size": Leaf(8, Whole(1, 1 << 20), "images in a step, over all devices of all hosts"),
        "accumulation_steps": Leaf(
            1, Whole(1, 1 << 20), "the batch is worked through in so many parts"
        ),
        "auxiliary_loss_weight": Leaf(0.4, Number(0, 100), "of the auxiliary head, beside 1"),
        "pictures": Leaf(
            4, Whole(0, 64), "images shown of the first batch and at each evaluation; 0: none"
        ),
        "log_every": Leaf(50, _COUNT, "steps"),
        "evaluate_every": Leaf(4000, _COUNT, "steps"),
        "checkpoint_every": Leaf(2000, _COUNT, "steps"),
        "keep_newest": Leaf(2, _COUNT, "checkpoints, beside the best one"),
        "init_from": Leaf("", Text(), "a checkpoint of any kind, or a published one by name"),
        "init_part": Leaf(
            "backbone", OneOf("backbone", "model"), "what to take of it; model: everything"
        ),
    },
    "parallel": {
        "spatial": Leaf(1, Whole(1, 1 << 16), "devices that split each image, by its height"),
        "fsdp": Leaf(False, Flag(), "parameters and optimizer state spread over the devices"),
    },
    "evaluation": {
        "split": Leaf("val", Text(), "split to evaluate on"),
        "batch_size": Leaf(8, Whole(1, 1 << 20), "images at a time, over all devices"),
        "mode": Leaf("whole", OneOf("whole", "slide"), "image at a time, or windows over it"),
        "window": Leaf((769, 769), pair(_PIXELS), "(height, width) in pixels, of mode slide"),
        "window_stride": Leaf((513, 513), pair(_PIXELS), "from one window to the next"),
        "windows_at_once": Leaf(8, Whole(0), "of each image; 0: all of them"),
        "max_buckets": Leaf(4, _COUNT, "sizes that images are padded to, each compiled once"),
        "scales": Leaf(
            (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
            Several(Number(0, 100, excluded=(0,)), least=1),
            "of multi-scale evaluation",
        ),
    },
}


def default_config() -> ConfigDict:
    """A config with every key set."""
    return ConfigDict(_defaults(SCHEMA)).lock()


def _defaults(section: Section) -> dict[str, Any]:
    return {
        key: entry.default if isinstance(entry, Leaf) else _defaults(entry)
        for key, entry in section.items()
    }


def leaves(section: Section = SCHEMA, prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Yields each key with its sections, such as `data.crop_size`, and what is known of it."""
    for key, entry in section.items():
        if isinstance(entry, Leaf):
            yield f"{prefix}{key}", entry
        else:
            yield from leaves(entry, f"{prefix}{key}.")
