"""Data sets as earlier versions made them: 64 examples a shard, one table written after each."""

import hashlib
import json
import os

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from gcnet_jax.data.record_format import identity

LENGTH = 64


def begin(folder, name, record_format, examples, written=None):
    """Writes shards into an unfinished folder, with their table of contents.

    Args:
        folder: of the unfinished set.
        name: of the set.
        record_format: its format.
        examples: by split.
        written: which shards of each split are whole; by default all.
    """
    folder.mkdir(parents=True)
    splits = {}
    for split, of_split in examples.items():
        count = -(-len(of_split) // LENGTH)
        splits[split] = {}
        for index in range(count) if written is None else written[split]:
            part = of_split[index * LENGTH : (index + 1) * LENGTH]
            stored = [record_format.store(example) for example in part]
            path = folder / f"{name}-{split}.array_record-{index:05d}-of-{count:05d}"
            writer = ArrayRecordWriter(os.fspath(path), record_format.writer_options)
            for example in stored:
                writer.write(example.record)
            writer.close()
            text = "\n".join(example.fingerprint() for example in part)
            counts = record_format.no_counts()
            for example in stored:
                counts += example.counts
            splits[split][index] = {
                "fingerprint": hashlib.sha256(os.fsencode(text)).hexdigest(),
                "sizes": [example.size for example in stored],
                "identities": [identity(example.record) for example in stored],
                "counts": counts.to_plain(),
            }
    plain = {**record_format.to_plain(), "splits": splits}
    (folder / "contents.json").write_text(json.dumps(plain))


def finish(folder, name, record_format, examples):
    """Writes a whole set."""
    begin(folder, name, record_format, examples)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix="array_record"
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=record_format.FEATURES,
        split_infos=[
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[
                    len(of_split[i : i + LENGTH]) for i in range(0, len(of_split), LENGTH)
                ],
                num_bytes=0,
                filename_template=template.replace(split=split),
            )
            for split, of_split in examples.items()
        ],
        filename_template=template,
        version="2.0.0",
        description="As it was.",
        disable_shuffling=True,
        check_data=False,
    )
