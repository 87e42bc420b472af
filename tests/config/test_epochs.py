"""Schedules in epochs come to steps once, and stay what they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.config import check_same_epochs, from_plain, in_steps, schedule_in_words, to_plain
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import check_config
from gcnet_jax.tasks.segmentation.config import SCHEMA
from tests.config.changed import with_values

IN_EPOCHS = {
    "optimizer.schedule": "steps",
    "training.batch_size": 16,
    "training.total_steps": 0,
    "training.evaluate_every": 0,
    "epochs.total": 12,
    "epochs.milestones": (8, 11),
    "epochs.evaluate_every": 1,
}


def test_epochs_are_whole_batches_and_what_is_in_steps_stays():
    config = in_steps(with_values(IN_EPOCHS), 117_266)
    check_config(config)
    assert config.training.total_steps == 12 * 7330
    assert config.optimizer.milestones == (8 * 7330, 11 * 7330)
    assert config.training.evaluate_every == config.epochs.steps == 7330
    assert config.training.checkpoint_every == 2000
    assert schedule_in_words(config, 117_266) == (
        "12 epochs of 117266 images at batch 16: 87960 steps\n"
        "the rate falls after steps 58640 and 80630"
    )


def test_a_schedule_in_steps_is_shown_in_epochs_too():
    config = with_values({"training.total_steps": 100, "training.batch_size": 8})
    assert in_steps(config, 320) is config
    assert schedule_in_words(config, 320) == "100 steps at batch 8: 2.5 epochs of 320 images"
    config = with_values({"optimizer.schedule": "steps", "optimizer.milestones": (9,)})
    assert schedule_in_words(config, 320).endswith("the rate falls after step 9")


def test_steps_once_found_stay_for_another_data_set_and_changes_that_contradict_are_refused():
    config = in_steps(with_values(IN_EPOCHS), 1000)
    written = from_plain(to_plain(config), SCHEMA)
    assert in_steps(written, 5).eq_as_configdict(config)
    assert schedule_in_words(written, 5).startswith("756 steps at batch 16: 2419.2 epochs of 5")
    written.training.total_steps += 1
    with pytest.raises(InputError, match=r"total_steps is 757 and epochs\.total is 12; expected"):
        check_config(written)
    written.epochs.total = 0
    check_config(written)


def test_steps_of_an_epoch_that_nothing_counts_are_refused():
    with pytest.raises(InputError, match=r"epochs\.steps is 5, and nothing is counted in epochs"):
        check_config(with_values({"epochs.steps": 5}))


def test_the_config_of_an_earlier_version_counts_in_steps():
    plain = to_plain(with_values({"training.total_steps": 70}))
    del plain["epochs"]
    config = from_plain(plain, SCHEMA)
    check_config(config)
    check_same_epochs(plain, to_plain(config), "this")
    assert in_steps(config, 10).training.total_steps == 70


@given(images=st.integers(1, 10**7), batch=st.integers(1, 4096), given=st.integers(0, 50))
def test_an_epoch_sees_every_image_unless_its_steps_are_given(images, batch, given):
    values = {**IN_EPOCHS, "training.batch_size": batch, "epochs.steps": given}
    config = in_steps(with_values(values), images)
    check_config(config)
    steps = config.epochs.steps
    assert config.training.total_steps == 12 * steps
    assert steps == given if given else (steps - 1) * batch < images <= steps * batch
