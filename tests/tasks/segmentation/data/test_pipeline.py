import itertools
import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import grain
import numpy as np
import pytest
from absl import flags
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from gcnet_jax.data.image_coding import encode_png
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data.records import Record
from gcnet_jax.tasks.segmentation.data.training_batches import RandomTransform
from tests.tasks.segmentation.data.step_by_step import transformed_step_by_step
from tests.training_batches import labelled_batches

TRAIN_SIZE = 7


def config(data_dir, **changes):
    """All transforms on, over the small CamVid-like data set."""
    values = {
        "name": "camvid",
        "data_dir": str(data_dir),
        "train_split": "train",
        "base_scale": (16, 12),
        "scale_range": (0.5, 2.0),
        "crop_size": (10, 14),
        "cat_max_ratio": 0.75,
        "flip_probability": 0.5,
        "photometric_distortion": True,
        "num_workers": 0,
    }
    return ConfigDict(values | changes)


def plain(data_dir, **changes):
    """No transform does anything, so that an image tells which one it is."""
    off = {
        "scale_range": (1.0, 1.0),
        "crop_size": (12, 16),
        "cat_max_ratio": 1.0,
        "flip_probability": 0.0,
        "photometric_distortion": False,
    }
    return config(data_dir, **(off | changes))


def indices(batch):
    """Which images these are, by the colour they were written in; -1 for entries that fill up."""
    red = batch["image"][:, 0, 0, 0].astype(int)
    return np.where(batch["size"][:, 0] > 0, red, -1).tolist()


def take(iterator, count):
    return [
        {key: np.array(value) for key, value in batch.items()}
        for batch in itertools.islice(iterator, count)
    ]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        assert batch.keys() == other.keys() == {"image", "label", "size"}
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


# The transform -----------------------------------------------------------------------------------


lengths = st.integers(1, 48)
sizes = st.tuples(lengths, lengths)


@given(
    size=sizes,
    base_scale=st.tuples(st.integers(8, 96), st.integers(8, 96)),
    scale_range=st.sampled_from([(0.5, 2.0), (1.0, 1.0), (0.5, 0.5), (2.0, 2.0), (0.97, 1.03)]),
    crop_size=sizes,
    cat_max_ratio=st.sampled_from([0.3, 0.75, 1.0]),
    flip_probability=st.sampled_from([0.0, 0.5, 1.0]),
    photometric_distortion=st.booleans(),
    keep_size=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=300)
def test_the_transform_gives_the_pixels_of_the_reference_sequence_on_whole_images(
    size, base_scale, keep_size, seed, **parameters
):
    # Half the time sizes come out close to what they were.
    base_scale = (max(size) + 4, min(size) + 4) if keep_size else base_scale
    # An edge that the scale reduces to nothing is not for the reference, and here one pixel.
    assume(min(size) * min(base_scale) / max(size) >= 2)
    contents = np.random.default_rng(seed)
    image = contents.integers(0, 256, (*size, 3), np.uint8)
    label = contents.choice(np.array([0, 1, 18, 255], np.uint8), size, p=[0.6, 0.2, 0.1, 0.1])
    record: Record = {
        "image": encode_png(image),
        "label": encode_png(label),
        "name": b"one",
        "size": np.array(size, np.int32),
    }
    transform = RandomTransform(base_scale=base_scale, **parameters)
    sample = transform(record, np.random.default_rng(seed))
    expected = transformed_step_by_step(image, label, np.random.default_rng(seed), transform)
    assert sample.keys() == expected.keys()
    for key, entry in expected.items():
        np.testing.assert_array_equal(sample[key], entry, err_msg=key)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 3), (7, 5), (1, 5000), (2, 1)])
@pytest.mark.parametrize("base_scale", [(2048, 512), (128, 64), (2, 1)])
def test_images_of_any_shape_are_trained_on(size, base_scale):
    record: Record = {
        "image": encode_png(np.full((*size, 3), 7, np.uint8)),
        "label": encode_png(np.full(size, 2, np.uint8)),
        "name": b"thin",
        "size": np.array(size, np.int32),
    }
    transform = RandomTransform(base_scale, (0.5, 2.0), (64, 96), 0.75, 0.5, True)
    for seed in range(20):
        sample = transform(record, np.random.default_rng(seed))
        assert sample["label"].shape == (64, 96)
        height, width = sample["size"]
        assert height > 0
        assert width > 0
        assert (sample["label"][:height, :width] == 2).all()
        assert (sample["label"] == 2).sum() == height * width


# Training ----------------------------------------------------------------------------------------


def test_training_batches_have_the_crop_size_and_say_what_is_padding(camvid_dir):
    sizes = set()
    for batch in take(labelled_batches(config(camvid_dir), batch_size=4, seed=0), 10):
        assert batch["image"].shape == (4, 10, 14, 3)
        assert batch["label"].shape == (4, 10, 14)
        assert batch["image"].dtype == batch["label"].dtype == np.uint8
        assert batch["size"].dtype == np.int32
        for image, label, (height, width) in zip(*batch.values(), strict=True):
            sizes.add((height, width))
            assert (image[height:] == 0).all()
            assert (image[:, width:] == 0).all()
            assert (label[height:] == 255).all()
            assert (label[:, width:] == 255).all()
            assert (label[: height - 2, :width] != 255).any()
    assert (10, 14) in sizes  # enlarged images fill the crop
    assert any(height < 10 for height, _ in sizes)  # reduced ones do not


def test_every_epoch_visits_each_image_once_in_an_order_of_its_own(camvid_dir):
    batches = take(labelled_batches(plain(camvid_dir), batch_size=TRAIN_SIZE, seed=0), 6)
    orders = [tuple(indices(batch)) for batch in batches]
    assert all(sorted(order) == list(range(TRAIN_SIZE)) for order in orders)
    assert len(set(orders)) == 6


def test_batches_span_epochs_without_losing_an_image(camvid_dir):
    batches = take(labelled_batches(plain(camvid_dir), batch_size=3, seed=0), TRAIN_SIZE)
    seen = [index for batch in batches for index in indices(batch)]
    assert sorted(seen) == sorted(list(range(TRAIN_SIZE)) * 3)


def test_a_transform_differs_between_images_and_between_epochs(camvid_dir):
    only_brightness = plain(camvid_dir, photometric_distortion=True)
    batches = take(labelled_batches(only_brightness, batch_size=TRAIN_SIZE, seed=0), 4)
    # Class i % 11 in the label tells images apart whose colours have changed.
    views = {
        (int(label[0, 0]), image.tobytes())
        for batch in batches
        for image, label in zip(batch["image"], batch["label"], strict=True)
    }
    assert len(views) > 2 * TRAIN_SIZE


def test_the_flip_probability_is_kept(camvid_dir, monkeypatch):
    flips = []
    flip = "gcnet_jax.tasks.segmentation.data.transforms.flip"
    monkeypatch.setattr(flip, lambda *pair: flips.append(1) or pair)
    for probability in (0.0, 1.0):
        flips.clear()
        iterator = labelled_batches(
            plain(camvid_dir, flip_probability=probability), batch_size=4, seed=0
        )
        take(iterator, 5)
        iterator.close()
        assert bool(flips) == bool(probability)


def test_the_seed_determines_the_batches(camvid_dir):
    first, again, other = (
        take(labelled_batches(config(camvid_dir), batch_size=4, seed=seed), 3) for seed in (0, 0, 1)
    )
    assert_same(first, again)
    assert any((a["image"] != b["image"]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("shard_count", [2, 3])
def test_the_processes_of_a_step_share_out_the_batch_of_a_single_process(camvid_dir, shard_count):
    def samples(batch):
        return [
            tuple(entry.tobytes() for entry in sample)
            for sample in zip(*batch.values(), strict=True)
        ]

    whole = take(labelled_batches(config(camvid_dir), batch_size=6, seed=0), 5)
    parts = [
        take(
            labelled_batches(
                config(camvid_dir),
                batch_size=6,
                seed=0,
                shard_index=index,
                shard_count=shard_count,
            ),
            5,
        )
        for index in range(shard_count)
    ]
    for step, batch in enumerate(whole):
        shares = [samples(part[step]) for part in parts]
        assert all(len(share) == 6 // shard_count for share in shares)
        assert list(itertools.chain(*shares)) == samples(batch)  # in order: dropout depends on it


def test_a_saved_state_continues_with_the_same_batches(camvid_dir):
    expected = take(labelled_batches(config(camvid_dir), batch_size=4, seed=0), 8)
    iterator = labelled_batches(config(camvid_dir), batch_size=4, seed=0)
    assert_same(take(iterator, 3), expected[:3])
    state = json.loads(json.dumps(iterator.get_state()))
    assert_same(take(iterator, 2), expected[3:5])

    restored = labelled_batches(config(camvid_dir), batch_size=4, seed=0)
    restored.set_state(state)
    assert restored.get_state() == state
    assert_same(take(restored, 5), expected[3:])

    iterator.set_state(state)  # an iterator in use goes back as well
    assert_same(take(iterator, 5), expected[3:])


def test_batches_of_another_size_go_on_with_the_sample_that_comes_next(camvid_dir):
    def samples(batches):
        return [
            tuple(e.tobytes() for e in s) for b in batches for s in zip(*b.values(), strict=True)
        ]

    expected = samples(take(labelled_batches(config(camvid_dir), batch_size=2, seed=0), 14))
    iterator = labelled_batches(config(camvid_dir), batch_size=4, seed=0)
    seen = samples(take(iterator, 3))
    for size, count in ((8, 1), (6, 1), (2, 1)):
        state = iterator.get_state()
        iterator = labelled_batches(config(camvid_dir), batch_size=size, seed=0)
        iterator.set_state(state)
        seen += samples(take(iterator, count))
    assert seen == expected


@pytest.mark.parametrize(
    "state", [{}, {"next_sample": -1}, {"next_sample": 10**30}, {"next_sample": "4"}]
)
def test_what_is_no_place_in_the_data_is_refused(camvid_dir, state):
    with pytest.raises(InputError, match="the place in the training data is"):
        labelled_batches(config(camvid_dir), batch_size=4, seed=0).set_state(state)


def test_workers_make_the_same_batches_and_states_are_exchanged_with_them(camvid_dir):
    # A script that does not run through absl.app has not parsed any flags.
    flags.FLAGS.unparse_flags()
    expected = take(labelled_batches(config(camvid_dir), batch_size=4, seed=0), 8)
    threads = labelled_batches(config(camvid_dir), batch_size=4, seed=0)
    workers = labelled_batches(config(camvid_dir, num_workers=2), batch_size=4, seed=0)
    take(threads, 3)

    workers.set_state(threads.get_state())
    assert_same(take(workers, 2), expected[3:5])
    threads.set_state(workers.get_state())
    assert_same(take(threads, 3), expected[5:])
    workers.close()


def test_a_worker_that_is_killed_is_named_and_the_place_is_kept(camvid_dir):
    iterator = labelled_batches(config(camvid_dir, num_workers=1), batch_size=4, seed=0)
    before = set(multiprocessing.active_children())
    take(iterator, 2)
    (worker,) = set(multiprocessing.active_children()) - before
    worker.kill()
    with pytest.raises(InputError, match="a data worker has ended with exit code -9, perhaps for"):
        take(iterator, 100)  # after what it had made ready
    state = iterator.get_state()
    iterator.close()
    (following,) = take(iterator, 1)
    threads = labelled_batches(config(camvid_dir), batch_size=4, seed=0)
    threads.set_state(state)
    assert_same([following], take(threads, 1))
    iterator.close()


def test_workers_end_when_the_process_that_they_work_for_is_killed(camvid_dir, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, sys, time\n"
        "from ml_collections import ConfigDict\n"
        "from gcnet_jax.tasks.segmentation.data import DATA_SETS, RandomTransform\n"
        "if __name__ == '__main__':\n"
        f"    config = ConfigDict({config(camvid_dir, num_workers=1).to_dict()!r})\n"
        "    transform = RandomTransform.from_config(config)\n"
        "    iterator = DATA_SETS.training_batches(config, transform, batch_size=4, seed=0)\n"
        "    next(iterator)\n"
        "    (worker,) = multiprocessing.active_children()\n"
        "    print(worker.pid, flush=True)\n"
        "    time.sleep(100)\n"
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = Path("/proc") / process.stdout.readline().strip()
    assert worker.name.isdigit()
    if not worker.exists():
        pytest.skip("there is no /proc to look for processes in")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()


def test_the_training_iterator_is_one_that_checkpointing_knows(camvid_dir):
    iterator = labelled_batches(config(camvid_dir), batch_size=4, seed=0)
    assert isinstance(iterator, grain.DatasetIterator)
    assert iter(iterator) is iterator


@pytest.mark.parametrize(("batch_size", "shard_count"), [(5, 2), (0, 1), (-2, 2)])
def test_a_batch_that_does_not_divide_by_the_processes_is_refused(
    camvid_dir, batch_size, shard_count
):
    message = f"batch size {batch_size} does not divide by the {shard_count} processes"
    with pytest.raises(InputError, match=message):
        labelled_batches(config(camvid_dir), batch_size=batch_size, seed=0, shard_count=shard_count)


def test_data_that_is_not_prepared_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="gcnet prepare_dataset camvid"):
        labelled_batches(config(tmp_path), batch_size=4, seed=0)
