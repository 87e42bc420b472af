"""Variants of the context block, by where their networks have it and what differs."""

import pytest
from flax import nnx

from gcnet_jax.analysis import VARIANTS, context_blocks, select_variant
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import load_config, read_config
from gcnet_jax.tasks.segmentation.build_model import build_model


def narrow(root, variant):
    # Not checked: it has one stage alone, and some variants have their blocks in others.
    config = read_config(root / "configs" / "ablation" / "context_shapes.py", variant)
    config.model.backbone.base_channels = 8
    config.model.decode_head.channels = 16
    return config


OF_OTHER_STAGES = [name for name, variant in VARIANTS.items() if variant.stages is not None]


@pytest.mark.parametrize("name", OF_OTHER_STAGES)
def test_variants_of_single_stages_have_blocks_in_these(root, name):
    config = load_config(root / "configs" / "ablation" / "camvid.py", name)
    model = nnx.eval_shape(lambda: build_model(config.model, num_classes=3))
    stage = int(name[-1]) - 2  # c2 is the first
    depth = (3, 4, 6, 3)[stage]
    assert list(context_blocks(model)) == [
        f"backbone.stages.{stage}.{index}.context" for index in range(depth)
    ]


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in OF_OTHER_STAGES])
def test_every_variant_builds_and_has_its_block_where_it_says(root, name):
    model = nnx.eval_shape(lambda: build_model(narrow(root, name).model, num_classes=3))
    paths = list(context_blocks(model))
    if name == "none":
        assert paths == []
    elif VARIANTS[name].position is None:
        assert paths == ["decode_head.context"]
    else:
        assert paths == [f"backbone.stages.0.{i}.context" for i in range(3)]


def test_variants_differ_from_gc_in_one_property(root):
    of_gc = narrow(root, "gc").model.decode_head.context.global_context
    for name, variant in VARIANTS.items():
        section = narrow(root, name).model.decode_head.context.global_context
        if name.startswith("gc-") and variant.position is None:
            changed = {key for key in of_gc if of_gc[key] != section[key]}
            assert changed == set(variant.options), name


def test_an_unknown_variant_is_refused_with_those_there_are(root):
    with pytest.raises(InputError, match=r"no variant 'gcc'.*none, se, nl, snl, gc"):
        select_variant(narrow(root, ""), "gcc")


def test_a_variant_of_a_variant_is_refused(root):
    with pytest.raises(InputError, match="already that of variant 'gc-average'"):
        select_variant(narrow(root, "gc-average"), "gc")


@pytest.mark.parametrize("name", ["context_shapes", "camvid"])
def test_without_an_argument_an_ablations_config_is_the_network_with_a_gc_block(root, name):
    file = root / "configs" / "ablation" / f"{name}.py"
    assert load_config(file).model.eq_as_configdict(load_config(file, "gc").model)
