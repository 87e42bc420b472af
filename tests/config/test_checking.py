import math

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from ml_collections import config_dict

from gcnet_jax.config import CONTEXT_BLOCKS
from gcnet_jax.errors import InputError
from gcnet_jax.models import CONTEXT_BLOCKS as BLOCK_CLASSES
from gcnet_jax.tasks.configs import check_config
from gcnet_jax.tasks.segmentation.config import check_model_config, default_config
from tests.config.changed import LEAVES, check, keys, refusal, with_values

# Keys --------------------------------------------------------------------------------------------


def test_the_defaults_are_a_config():
    check_config(default_config())


def test_a_key_that_was_forced_in_or_left_out_is_named():
    config = default_config()
    with config.unlocked():
        config.model.widht = 3
        del config.data.crop_size
    with pytest.raises(InputError, match=r"unknown keys: model\.widht"):
        check_config(config)
    with config.unlocked():
        del config.model.widht
    with pytest.raises(InputError, match=r"lacks the keys: data\.crop_size"):
        check_config(config)


def test_a_section_in_place_of_a_value_and_the_other_way_round_are_named():
    with pytest.raises(InputError, match="seed is a: 1; expected 0 or more"):
        check({"seed": {"a": 1}})
    with pytest.raises(InputError, match=r"lacks the keys: data\.\*"):
        check({"data": 3})
    with pytest.raises(InputError, match="unknown keys: extra"):
        check({"extra": {}})


@pytest.mark.parametrize("config", [None, {}, "configs/x.py", 3])
def test_what_is_no_config_is_refused(config):
    for check_it in (check_config, check_model_config):
        with pytest.raises(InputError, match="expected a ConfigDict"):
            check_it(config)


# Values, each against its range ------------------------------------------------------------------


def test_every_key_has_a_range_that_holds_its_default_and_not_everything():
    assert set(keys(default_config())) == set(LEAVES)
    for key, leaf in LEAVES.items():
        assert leaf.range.holds(leaf.default), key
        for nonsense in (None, object(), math.nan, b"", [], {}, (None,), 10**5000, -(10**40)):
            assert not leaf.range.holds(nonsense), (key, nonsense)
        assert str(leaf.range).strip()


def test_the_blocks_that_configs_name_are_those_there_are():
    assert set(CONTEXT_BLOCKS) == BLOCK_CLASSES.keys()


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("seed", -1, "0 or more"),
        ("seed", 2**31, "up to 2147483647"),
        ("model.dtype", "float16", "'float32' or 'bfloat16'"),
        ("model.dtype", "int8", "'float32' or 'bfloat16'"),
        ("model.align_corners", 1, "true or false"),
        ("model.backbone.depth", 51, "18, 34, 50 or 101"),
        ("model.backbone.depth", 50.0, "18, 34, 50 or 101"),
        ("model.backbone.base_channels", 0, "2 or more"),
        ("model.backbone.context.stages", ("c4",), "numbers, each 0 or more"),
        ("model.backbone.context.stages", (4,), "up to 3"),
        ("model.backbone.context.position", "after_conv4", "'after_add'"),
        ("model.decode_head.context.block", "transformer", "global_context.*MODULE:CLASS"),
        ("model.decode_head.context.block", ":Block", "MODULE:CLASS"),
        ("model.decode_head.context.global_context.ratio", math.nan, "from 0 to 1, but not 0"),
        ("model.decode_head.context.non_local.reduction", 0, "1 or more"),
        ("model.decode_head.dropout_rate", -1, "from 0 to 1, but not 1"),
        ("model.decode_head.dropout_rate", 2, "from 0 to 1, but not 1"),
        ("model.decode_head.dropout_rate", math.nan, "from 0 to 1, but not 1"),
        ("model.auxiliary_head.dropout_rate", 1.0, "from 0 to 1, but not 1"),
        ("model.decode_head.num_convs", 0, "1 or more"),
        ("data.name", "a\x1b[2Jb", "without control characters"),
        ("data.data_dir", "data\0", "without control characters"),
        ("data.base_scale", (0, 1024), "2 numbers, each 1 or more"),
        ("data.scale_range", (0, 0), "2 numbers, each a number from 0 to 100, but not 0"),
        ("data.scale_range", (math.nan, 1.0), "2 numbers"),
        ("data.crop_size", (-64, 96), "2 numbers, each 1 or more"),
        ("data.crop_size", (0, 0), "2 numbers, each 1 or more"),
        ("data.crop_size", (5,), "2 numbers"),
        ("data.crop_size", ("a", "b"), "2 numbers"),
        ("data.crop_size", (64, 2**40), "up to 65536"),
        ("data.flip_probability", 7, "a number from 0 to 1"),
        ("data.flip_probability", "often", "a number from 0 to 1"),
        ("data.cat_max_ratio", 0, "but not 0"),
        ("data.num_workers", -1, "0 or more"),
        ("optimizer.learning_rate", -0.1, "0 or more and finite, but not 0"),
        ("optimizer.learning_rate", math.inf, "finite"),
        ("optimizer.final_learning_rate", -0.1, "0 or more and finite"),
        ("optimizer.momentum", 1.5, "from 0 to 1, but not 1"),
        ("optimizer.power", -1, "from 0 to 100"),
        ("optimizer.weight_decay", -5, "from 0 to 1"),
        ("optimizer.name", "adam", "'sgd' or 'adamw'"),
        ("optimizer.schedule", "step", "'poly', 'steps' or 'cosine'"),
        ("optimizer.milestones", (0, 10), "numbers, each 1 or more"),
        ("optimizer.milestones", 10, "numbers, each 1 or more"),
        ("optimizer.decay_factor", 2, "from 0 to 1"),
        ("optimizer.warmup_steps", -1, "0 or more"),
        ("optimizer.warmup_ratio", 1.1, "from 0 to 1"),
        ("optimizer.betas", (0.9, 1.0), "2 numbers, each a number from 0 to 1, but not 1"),
        ("optimizer.decay_norms_and_biases", "no", "true or false"),
        ("optimizer.clip_norm", -1.0, "0 or more and finite"),
        ("optimizer.ema_decay", 1.0, "from 0 to 1, but not 1"),
        ("training.total_steps", 1.5, "a whole number"),
        ("training.total_steps", 2**63, "up to 2147483647"),
        ("training.log_every", True, "a whole number"),
        ("training.accumulation_steps", 0, "1 or more"),
        ("training.init_part", "head", "'backbone' or 'model'"),
        ("loss.cross_entropy_weight", -1, "a number from 0 to 10000"),
        ("loss.class_weights", (1.0, -1.0), "numbers, each a number from 0 to 10000"),
        ("loss.class_weights", (1.0,) * 256, "0 to 255 numbers"),
        ("loss.class_weights_from_counts", "yes", "true or false"),
        ("loss.avg_non_ignore", 1, "true or false"),
        ("loss.hard_pixels.min_kept", -1, "0 or more"),
        ("loss.hard_pixels.threshold", 1.5, "from 0 to 1"),
        ("loss.dice.weight", math.nan, "from 0 to 10000"),
        ("loss.dice.epsilon", 0, "but not 0"),
        ("loss.focal.gamma", -1, "from 0 to 100"),
        ("loss.focal.alpha", 2, "from 0 to 1"),
        ("evaluation.mode", "slid", "'whole' or 'slide'"),
        ("evaluation.window_stride", (0, 5), "each 1 or more"),
        ("evaluation.window", (0, 40), "each 1 or more"),
        ("evaluation.scales", (1.0, 0.0), "but not 0"),
        ("evaluation.scales", (math.nan,), "but not 0"),
        ("evaluation.scales", (), "1 to 100 numbers"),
        ("evaluation.windows_at_once", -1, "0 or more"),
        ("evaluation.max_buckets", 0, "1 or more"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(key, value, says):
    with pytest.raises(InputError, match=rf"^{key} is .*; expected .*{says}"):
        check({key: value})


def test_whole_numbers_stand_for_fractions():
    check({"data.scale_range": (1, 2), "model.decode_head.dropout_rate": 0})


def test_tuples_of_any_length_hold_the_right_elements():
    check({"model.backbone.context.stages": (), "model.backbone.context.residual_blocks": (0, -1)})


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70),
    st.integers(),
    st.sampled_from([2**31, 2**63, -(2**63), 10**5000, -0.0, math.nan, math.inf, -math.inf]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["float32", "whole", "global_context", "os:system", "../..", "\x1b[31m", "\0"]),
    st.binary(max_size=3),
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=4).map(tuple),
    st.tuples(st.integers(-2, 9), st.integers(-2, 9)),
    st.lists(scalars, max_size=3),
    st.dictionaries(st.text("ab", min_size=1), scalars, max_size=2),
    st.just((((),),)),
)


@settings(max_examples=400)
@given(key=st.sampled_from(sorted(LEAVES)), value=values)
def test_any_value_of_any_key_is_taken_or_ends_in_one_line_that_names_it(key, value):
    try:
        config = with_values({key: value})
    except OverflowError:  # of ml_collections, for what no fraction can be
        reject()
    if message := refusal(check_config, config):
        assert key in message
        assert message.isprintable(), "one line, and nothing that a terminal obeys"
        assert len(message) < 500


def test_a_placeholder_that_nobody_has_filled_is_named():
    config = default_config().unlock()
    with config.ignore_type():
        config.seed = config_dict.required_placeholder(int)
    with pytest.raises(InputError, match="seed has no value"):
        check_config(config)


# Values against each other -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data.scale_range": (2.0, 0.5)}, r"data\.scale_range is \(2\.0, 0\.5\).*least ratio"),
        (
            {"data.base_scale": (4, 4), "data.scale_range": (0.2, 2.0)},
            r"scale_range starts at 0\.2.*less than a pixel of data\.base_scale, \(4, 4\)",
        ),
        (
            {"optimizer.learning_rate": 1e-5},
            r"optimizer\.final_learning_rate is 0\.0001; expected no more than .*1e-05",
        ),
        (
            {"optimizer.learning_rate": 1e-5, "optimizer.schedule": "cosine"},
            r"optimizer\.final_learning_rate is 0\.0001; expected no more than .*1e-05",
        ),
        (
            {"optimizer.warmup_steps": 100, "training.total_steps": 100},
            r"optimizer\.warmup_steps is 100; expected fewer than training\.total_steps, 100",
        ),
        (
            {"optimizer.milestones": (10,)},
            r"optimizer\.milestones is \(10,\), which optimizer\.schedule 'poly' has no use for",
        ),
        (
            {"optimizer.schedule": "steps", "optimizer.milestones": (20, 20)},
            r"optimizer\.milestones is \(20, 20\); expected each above the one before",
        ),
        (
            {"optimizer.schedule": "steps", "optimizer.milestones": (10, 40_000)},
            r"optimizer\.milestones is .*; expected .* all before training\.total_steps, 40000",
        ),
        (
            {
                "optimizer.schedule": "steps",
                "optimizer.milestones": (10, 20),
                "optimizer.warmup_steps": 11,
            },
            r"optimizer\.milestones is .*; expected none before .*warmup_steps, 11",
        ),
        (
            {"epochs.total": 12},
            r"training\.total_steps is 40000 and epochs\.total is 12; expected one of them to be 0",
        ),
        (
            {"training.evaluate_every": 0},
            r"training\.evaluate_every and epochs\.evaluate_every are both 0",
        ),
        (
            {
                "training.total_steps": 0,
                "epochs.total": 12,
                "epochs.milestones": (8, 12),
                "optimizer.schedule": "steps",
            },
            r"epochs\.milestones is \(8, 12\); expected .*, and all before epochs\.total, 12",
        ),
        (
            {"training.total_steps": 0, "epochs.total": 5, "epochs.warmup": 5},
            r"epochs\.warmup is 5; expected fewer than epochs\.total, 5",
        ),
        (
            {"training.batch_size": 8, "training.accumulation_steps": 3},
            r"training\.batch_size is 8, which does not divide into .*, 3, equal parts",
        ),
        ({"loss.cross_entropy_weight": 0}, r"loss\..* are all 0; expected one that is more"),
        (
            {"loss.class_weights": (1.0, 2.0), "loss.class_weights_from_counts": True},
            r"loss\.class_weights is \(1\.0, 2\.0\), and .*; expected one of the two",
        ),
        (
            {"loss.class_weights": (0.0, 0.0)},
            r"loss\.class_weights is \(0\.0, 0\.0\); expected one",
        ),
        (
            {
                "loss.cross_entropy_weight": 0,
                "loss.dice.weight": 1,
                "loss.hard_pixels.min_kept": 9,
            },
            r"loss\.hard_pixels\.min_kept is 9, and loss\.cross_entropy_weight 0",
        ),
        ({"evaluation.window_stride": (5, 1000)}, r"evaluation\.window_stride.*leave gaps"),
        ({"model.backbone.num_stages": 3}, r"model\.decode_head\.stage is 3, but .* 3 stages"),
        (
            {"model.backbone.num_stages": 2, "model.decode_head.stage": 1},
            r"model\.auxiliary_head\.stage is 2, but .* 2 stages",
        ),
        (
            {
                "model.backbone.num_stages": 2,
                "model.decode_head.stage": 1,
                "model.auxiliary_head.enabled": False,
                "model.backbone.context.block": "non_local",
            },
            r"model\.backbone\.context\.stages is 1, 2, 3, but .* 2 stages",
        ),
        (
            {
                "model.backbone.num_stages": 2,
                "model.decode_head.stage": 1,
                "model.auxiliary_head.enabled": False,
                "model.backbone.remat_stages": (0, 2),
            },
            r"model\.backbone\.remat_stages is 0, 2, but .* 2 stages",
        ),
    ],
)
def test_values_that_do_not_fit_together_are_named(given, says):
    with pytest.raises(InputError, match=says):
        check(given)


def test_a_rate_below_the_final_one_of_another_schedule_is_taken():
    check({"optimizer.learning_rate": 1e-5, "optimizer.schedule": "steps"})


def test_what_is_not_there_may_have_any_place():
    check(
        {
            "model.backbone.num_stages": 1,
            "model.decode_head.stage": 0,
            "model.auxiliary_head.enabled": False,
        }
    )
