"""Every key of a config: its default, that of the published runs, and what it may be.

A run's file starts from `default_config()` and sets what is its own. The result is locked, so that
a misspelt key fails where it is written, in the file or on the command line; `check_config` then
holds every value against its range here.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

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


class Leaf(NamedTuple):
    """A key that holds a value."""

    default: Any
    range: Range


Section = dict[str, "Leaf | Section"]


def _context_block(block: str, *, ratio: float) -> Section:
    """Which context block stands in a place, and what each kind takes, under the kind's name."""
    return {
        # one of those above, "MODULE:CLASS" for one of your own, "": none
        "block": Leaf(
            block,
            Text(
                rf"({'|'.join(CONTEXT_BLOCKS)}|[^\s:]+:\w+)?",
                f"one of {', '.join(CONTEXT_BLOCKS)}, MODULE:CLASS for one of your own, "
                "or '' for none",
            ),
        ),
        "global_context": {
            "ratio": Leaf(ratio, _RATIO),
            "pooling": Leaf("attention", OneOf("attention", "average")),
            "fusion": Leaf("add", OneOf("add", "multiply", "both")),
            "activation": Leaf("layer_norm_relu", OneOf("layer_norm_relu", "relu", "none")),
        },
        "non_local": {
            "mode": Leaf(
                "embedded_gaussian",
                OneOf("embedded_gaussian", "gaussian", "dot_product", "concatenation"),
            ),
            "reduction": Leaf(2, _CHANNELS),  # embeddings have so many times fewer channels
            "use_scale": Leaf(True, Flag()),
            "sub_sample": Leaf(False, Flag()),
        },
        "squeeze_excite": {
            "ratio": Leaf(ratio, _RATIO),
            "gate": Leaf("hard_sigmoid", OneOf("hard_sigmoid", "sigmoid")),
        },
    }


SCHEMA: Section = {
    "published_run": Leaf("", Text()),  # the run whose weights `published` means, if there is one
    "variant": Leaf("", Text()),  # of an ablation, as `gcnet_jax.analysis.VARIANTS` calls it
    "seed": Leaf(0, Whole(0)),  # of the initial weights, the data order, augmentation and dropout
    "model": {
        "dtype": Leaf("float32", OneOf("float32", "bfloat16")),  # bfloat16: on accelerators
        "align_corners": Leaf(False, Flag()),  # in resizing logits; true for the 769x769 runs
        "backbone": {
            "depth": Leaf(50, OneOf(18, 34, 50, 101)),
            "variant": Leaf("v1c", OneOf("v1b", "v1c", "v1d")),
            "output_stride": Leaf(8, OneOf(8, 16, 32)),
            "num_stages": Leaf(4, Whole(1, 4)),
            "base_channels": Leaf(64, Whole(2, 1 << 12)),
            # stages, counted from 0, that are computed again for their gradients, to need less
            # memory
            "remat_stages": Leaf((), Several(_STAGE)),
            "context": {
                **_context_block("", ratio=1 / 16),
                # behind which convolution of a residual block, or behind the sum
                "position": Leaf(
                    "after_conv3", OneOf("after_conv1", "after_conv2", "after_conv3", "after_add")
                ),
                # counted from 0; c3, c4 and c5 of the papers
                "stages": Leaf((1, 2, 3), Several(_STAGE)),
                # which of a stage, such as (-2,); (): all
                "residual_blocks": Leaf((), Several(Whole(-23, 22))),
            },
        },
        "decode_head": {
            "stage": Leaf(3, _STAGE),  # of the backbone, counted from 0
            "channels": Leaf(512, _CHANNELS),
            "num_convs": Leaf(2, Whole(1, 100)),
            "concat_input": Leaf(True, Flag()),
            "dropout_rate": Leaf(0.1, _DROPOUT),
            "context": _context_block("global_context", ratio=1 / 4),
        },
        "auxiliary_head": {
            "enabled": Leaf(True, Flag()),
            "stage": Leaf(2, _STAGE),
            "channels": Leaf(256, _CHANNELS),
            "dropout_rate": Leaf(0.1, _DROPOUT),
        },
    },
    "data": {
        "name": Leaf("", Text()),  # of the data set, as given to prepare_dataset.py
        "data_dir": Leaf("data", Text()),  # where prepare_dataset.py put it
        "train_split": Leaf("train", Text()),
        "base_scale": Leaf((2048, 1024), pair(_PIXELS)),  # (long edge, short edge) at ratio 1
        "scale_range": Leaf((0.5, 2.0), pair(Number(0, 100, excluded=(0,)))),  # of that ratio
        "crop_size": Leaf((512, 1024), pair(_PIXELS)),  # (height, width)
        # no class may cover more of a crop than this
        "cat_max_ratio": Leaf(0.75, Number(0, 1, excluded=(0,))),
        "flip_probability": Leaf(0.5, _SHARE),
        "photometric_distortion": Leaf(True, Flag()),
        "max_image_pixels": Leaf(1 << 28, Whole(1, 1 << 30)),  # of a file that predict.py reads
        "num_workers": Leaf(4, Whole(0, 1024)),  # processes that prepare batches; 0: threads only
    },
    "optimizer": {
        "learning_rate": Leaf(0.01, Number(0, excluded=(0,))),
        "final_learning_rate": Leaf(1e-4, Number(0)),  # reached in the last step
        "power": Leaf(0.9, Number(0, 100)),  # of the polynomial decay between the two
        "momentum": Leaf(0.9, Number(0, 1, excluded=(1,))),
        "weight_decay": Leaf(5e-4, _SHARE),
    },
    "training": {
        "total_steps": Leaf(40_000, _COUNT),
        "batch_size": Leaf(8, Whole(1, 1 << 20)),  # over all devices of all hosts
        # the batch is worked through in so many parts
        "accumulation_steps": Leaf(1, Whole(1, 1 << 20)),
        "auxiliary_loss_weight": Leaf(0.4, Number(0, 100)),
        "log_every": Leaf(50, _COUNT),  # steps
        "evaluate_every": Leaf(4000, _COUNT),  # steps
        "checkpoint_every": Leaf(2000, _COUNT),  # steps
        # images shown of the first batch and at each evaluation; 0: nothing is drawn till the end
        "pictures": Leaf(4, Whole(0, 64)),
        "keep_newest": Leaf(2, _COUNT),  # checkpoints, beside the best one
        "init_from": Leaf("", Text()),  # a checkpoint of any kind, or a published one by name
        # what to take of it: the backbone alone or everything
        "init_part": Leaf("backbone", OneOf("backbone", "model")),
    },
    "parallel": {
        "spatial": Leaf(1, Whole(1, 1 << 16)),  # devices that split each image, by its height
        "fsdp": Leaf(False, Flag()),  # parameters and optimizer state spread over the devices
    },
    "evaluation": {
        "split": Leaf("val", Text()),
        "batch_size": Leaf(8, Whole(1, 1 << 20)),  # over all devices
        "mode": Leaf("whole", OneOf("whole", "slide")),  # image at a time, or windows over it
        "window": Leaf((769, 769), pair(_PIXELS)),  # (height, width) in pixels, of mode "slide"
        "window_stride": Leaf((513, 513), pair(_PIXELS)),  # from one window to the next
        "windows_at_once": Leaf(8, Whole(0)),  # of each image; 0: all of them
        "max_buckets": Leaf(4, _COUNT),  # sizes that images are padded to, each compiled once
        # of multi-scale evaluation
        "scales": Leaf(
            (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), Several(Number(0, 100, excluded=(0,)), least=1)
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


def describe_defaults() -> list[str]:
    """One line a key, `key = default`, for help texts."""
    return [f"{key} = {leaf.default!r}" for key, leaf in leaves()]
