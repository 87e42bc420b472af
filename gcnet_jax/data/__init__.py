"""Prepared data sets on disk, and the order in which training and evaluation read them.

What a record is, a task says with a class of its own, a `RecordFormat`.
"""

from gcnet_jax.data.bucketed_order import BucketedOrder
from gcnet_jax.data.buckets import group_into_buckets
from gcnet_jax.data.contents import Contents
from gcnet_jax.data.datasets import DataSets
from gcnet_jax.data.evaluation_order import Place, evaluation_order, ordered_batches
from gcnet_jax.data.examples import Example, Examples, OfficialSet, Part
from gcnet_jax.data.folders import check_name, is_prepared
from gcnet_jax.data.image_coding import decode_as_stored, decode_rgb, encode_plain, encode_png
from gcnet_jax.data.image_files import (
    displayed,
    displayed_pixels,
    displayed_size,
    read_displayed_size,
    read_rgb,
    said_size,
)
from gcnet_jax.data.patterns import Patterns
from gcnet_jax.data.pipeline import (
    BucketTransform,
    TrainIterator,
    Transform,
    bucketed_batches,
    shard_size,
    shuffled_batches,
)
from gcnet_jax.data.preparable import OwnFiles, Preparable
from gcnet_jax.data.preparation import Check
from gcnet_jax.data.preparation_lock import only_process
from gcnet_jax.data.prepare_sets import (
    lacking_advice,
    own_data_dir,
    own_files,
    prepare_official,
    prepare_own,
    with_table,
)
from gcnet_jax.data.record_format import Counts, RecordFormat, StoredExample
from gcnet_jax.data.resizing import (
    fit_in_words,
    nearest_pixels,
    rescaled_size,
    resize_image,
    resize_to_fit,
)
from gcnet_jax.data.split import Split, spread_over

__all__ = [
    "BucketTransform",
    "BucketedOrder",
    "Check",
    "Contents",
    "Counts",
    "DataSets",
    "Example",
    "Examples",
    "OfficialSet",
    "OwnFiles",
    "Part",
    "Patterns",
    "Place",
    "Preparable",
    "RecordFormat",
    "Split",
    "StoredExample",
    "TrainIterator",
    "Transform",
    "bucketed_batches",
    "check_name",
    "decode_as_stored",
    "decode_rgb",
    "displayed",
    "displayed_pixels",
    "displayed_size",
    "encode_plain",
    "encode_png",
    "evaluation_order",
    "fit_in_words",
    "group_into_buckets",
    "is_prepared",
    "lacking_advice",
    "nearest_pixels",
    "only_process",
    "ordered_batches",
    "own_data_dir",
    "own_files",
    "prepare_official",
    "prepare_own",
    "read_displayed_size",
    "read_rgb",
    "rescaled_size",
    "resize_image",
    "resize_to_fit",
    "said_size",
    "shard_size",
    "shuffled_batches",
    "spread_over",
    "with_table",
]
