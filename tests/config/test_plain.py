import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.config import architecture, differences, to_plain
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import check_config, from_plain
from gcnet_jax.tasks.segmentation.config import default_config


def test_a_plain_config_becomes_the_same_config_again():
    config = default_config()
    config.data.crop_size = (3, 4)
    config.evaluation.scales = (0.5, 1.0)
    assert from_plain(to_plain(config)) == config


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
sections = st.dictionaries(
    st.sampled_from(["seed", "model", "data", "evaluation", "backbone", "crop_size", "scales"]),
    json,
    max_size=3,
)


@given(json | sections | sections.map(lambda inner: {"data": inner, "evaluation": inner}))
def test_json_of_any_shape_becomes_a_config_or_ends_in_one_line(plain):
    message = ""
    try:
        config = from_plain(plain)
    except InputError as error:
        message = str(error)
    else:
        assert from_plain(to_plain(config)) == config
    assert message.isprintable()


@pytest.mark.parametrize("section", ["seed", "optimizer"])
def test_a_number_too_large_to_show_is_refused_all_the_same(section):
    plain = {"seed": 10**5000} if section == "seed" else {"optimizer": {"momentum": 10**5000}}
    with pytest.raises(InputError, match=r"is too large to show \(int\); expected"):
        from_plain(plain)


@pytest.mark.parametrize("key", ["lerning_rate", "optimizer.lr"])
def test_a_key_of_another_version_is_named(key):
    section, _, name = key.rpartition(".")
    with pytest.raises(InputError, match=rf"no key '{key}'"):
        from_plain({section: {name: 1}} if section else {name: 1})


def test_differences_are_named_by_key_with_both_values():
    old, new = default_config(), default_config()
    new.optimizer.momentum = 0.5
    new.data.crop_size = (1, 2)
    assert differences(to_plain(old), to_plain(new)) == [
        "data.crop_size: [512, 1024] -> [1, 2]",
        "optimizer.momentum: 0.9 -> 0.5",
    ]
    assert differences(to_plain(old), to_plain(default_config())) == []


def test_a_models_architecture_is_that_of_the_context_blocks_it_has():
    def changed(**values):
        config = default_config()
        config.update_from_flattened_dict(values, strip_prefix="")
        return differences(
            architecture(to_plain(default_config().model)), architecture(to_plain(config.model))
        )

    head, backbone = "model.decode_head.context", "model.backbone.context"
    assert changed(**{f"{head}.non_local.mode": "gaussian", f"{backbone}.stages": (1,)}) == []
    assert changed(**{f"{head}.global_context.ratio": 0.5}) == [
        "decode_head.context.global_context.ratio: 0.25 -> 0.5"
    ]
    assert any("non_local" in line for line in changed(**{f"{head}.block": "non_local"}))


def test_precision_dropout_and_what_is_computed_again_or_frozen_are_no_part_of_the_architecture():
    config = default_config()
    config.model.dtype = "bfloat16"
    config.model.decode_head.dropout_rate = 0.0
    config.model.backbone.remat_stages = (0, 1)
    config.model.backbone.frozen_stages, config.model.backbone.norm_eval = 1, True
    check_config(config)
    expected = architecture(to_plain(default_config().model))
    assert architecture(to_plain(config.model)) == expected
