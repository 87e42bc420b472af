import inspect
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gcnet_jax
from gcnet_jax.errors import InputError
from gcnet_jax.models import CONTEXT_BLOCKS
from gcnet_jax.nn import ContextBlock
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.build_model import build_model, model_config
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS

CONFIGS = Path(__file__).parents[2] / "configs" / "gcnet"
PUBLISHED = json.loads((Path(__file__).parent / "published_runs.json").read_text())


def narrow(name: str = "gcnet_r18-d8"):
    config = model_config(name)
    config.backbone.base_channels = 8
    config.backbone.num_stages = 2
    config.decode_head.stage = 1
    config.auxiliary_head.stage = 0
    config.decode_head.channels = 16
    config.auxiliary_head.channels = 8
    return config


@pytest.fixture(scope="module")
def model():
    return build_model(narrow(), num_classes=5)


@pytest.mark.parametrize("run", PUBLISHED)
def test_every_published_run_has_its_parameters_and_statistics(run):
    config = load_config(CONFIGS / f"{run}.py")
    classes = DATA_SETS.meaning(config.data.name)
    assert config.published_run == run
    assert classes.num_classes == PUBLISHED[run]["num_classes"]
    model = nnx.eval_shape(lambda: build_model(config.model, num_classes=classes.num_classes))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert parameters == PUBLISHED[run]["n_params"]
    # The reference counts batches in each normalisation, and keeps the images' mean and deviation.
    statistics = len(jax.tree.leaves(nnx.state(model, nnx.BatchStat)))
    assert statistics // 2 * 3 + 2 == PUBLISHED[run]["n_buffers"]


def test_the_network_without_the_block_differs_by_the_block_alone():
    def names(name):
        model = nnx.eval_shape(lambda: gcnet_jax.create_model(name, num_classes=4))
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        return {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)}

    only_gc = names("gcnet_r18-d16") - names("fcn_r18-d16")
    assert only_gc
    assert all("['decode_head']['context']" in name for name in only_gc)
    assert names("fcn_r18-d16") < names("gcnet_r18-d16")


def test_with_and_without_the_block_all_other_weights_start_the_same():
    def params(name):
        config = narrow(name)
        state = nnx.state(build_model(config, num_classes=3, seed=5), nnx.Param)
        leaves = jax.tree.leaves_with_path(nnx.to_pure_dict(state))
        return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}

    with_block = params("gcnet_r18-d8")
    for name, leaf in params("fcn_r18-d8").items():
        np.testing.assert_array_equal(with_block[name], leaf, err_msg=name)


def test_a_model_is_made_with_few_programs_however_many_shapes_it_has(compilations):
    config = model_config("gcnet_r18-d8")
    config.backbone.base_channels = 12  # which no other test has, so that nothing is there yet
    with compilations() as names:
        model = build_model(config, num_classes=5)
    assert len({leaf.shape for leaf in jax.tree.leaves(nnx.state(model))}) > 30
    assert len(names) <= 12, names


def test_the_functional_form_is_pure_and_equals_the_model(model):
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 33, 40, 3)), jnp.float32)
    apply, variables = gcnet_jax.functional(model)
    before = jax.tree.map(np.asarray, variables)
    logits = jax.jit(apply)(variables, images)
    expected = jax.jit(lambda images: model(images))(images)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    assert logits.shape == (2, 33, 40, 5)

    grads = jax.jit(jax.grad(lambda v: jnp.sum(apply(v, images) ** 2)))(variables)
    assert jax.tree.structure(grads) == jax.tree.structure(variables)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))


def test_functional_leaves_the_model_in_its_mode(model):
    model.train()
    gcnet_jax.functional(model)
    assert not model.decode_head.dropout.deterministic
    model.eval()


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters_and_logits():
    config = narrow()
    config.dtype = "bfloat16"
    model = build_model(config, num_classes=5)
    images = jnp.ones((1, 32, 32, 3))
    assert model.backbone(images)[-1].dtype == jnp.bfloat16
    assert model(images).dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}


def test_heads_say_their_logits_at_the_resolution_of_their_stages(model):
    logits = model.head_logits(jnp.ones((1, 64, 32, 3)))
    assert logits.decode.shape == (1, 8, 4, 5)
    assert logits.auxiliary is not None
    assert logits.auxiliary.shape == (1, 16, 8, 5)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    def first_kernel(seed):
        return np.asarray(
            build_model(narrow(), num_classes=2, seed=seed).backbone.stem[0].conv.kernel
        )

    np.testing.assert_array_equal(first_kernel(1), first_kernel(1))
    assert (first_kernel(1) != first_kernel(2)).any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gcnet", "does not read as"),
        ("gcnet_r50", "does not read as"),
        (50, "50 does not read as"),
        ("pspnet_r50-d8", "does not read as"),
        ("gcnet_r51-d8", "depth is 51; expected 18, 34, 50 or 101"),
        ("gcnet_r50-d4", "output_stride is 4; expected 8, 16 or 32"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        gcnet_jax.create_model(name, num_classes=3)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"num_classes": 0}, "num_classes is 0; expected 1 or more"),
        ({"num_classes": 1.5}, "num_classes is 1.5"),
        ({"num_classes": "19"}, "num_classes is '19'"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0"),
        ({"seed": 2**31}, "seed is 2147483648"),
        ({"dtype": "int8"}, "dtype is 'int8'; expected one of .*bfloat16"),
        ({"dtype": jnp.float32}, "dtype is .*float32.*; expected one of .*bfloat16"),
    ],
)
def test_values_that_mean_nothing_are_refused(changed, says):
    with pytest.raises(InputError, match=says):
        gcnet_jax.create_model("gcnet_r18-d8", **{"num_classes": 3, **changed})


def test_a_section_that_lacks_keys_is_refused():
    with pytest.raises(InputError, match="expected a ConfigDict"):
        build_model({}, num_classes=3)
    config = narrow()
    with config.unlocked():
        del config.backbone.depth
    with pytest.raises(InputError, match=r"lacks the keys: backbone\.depth"):
        build_model(config, num_classes=3)


def test_a_head_on_a_stage_that_is_not_built_is_refused():
    config = narrow()
    config.decode_head.stage = 3
    with pytest.raises(InputError, match=r"decode_head\.stage is 3.*2 stages"):
        build_model(config, num_classes=3)


def test_an_unknown_block_or_dtype_is_refused():
    config = narrow()
    config.decode_head.context.block = "transformer"
    with pytest.raises(InputError, match=r"transformer.*global_context"):
        build_model(config, num_classes=3)
    config = narrow()
    config.dtype = "float8"
    with pytest.raises(InputError, match=r"float8.*float32.*bfloat16"):
        build_model(config, num_classes=3)


def context_paths(config):
    model = nnx.eval_shape(lambda: build_model(config, num_classes=3))
    return {
        ".".join(map(str, path)): type(block).__name__
        for path, block in nnx.iter_graph(model)
        if isinstance(block, ContextBlock)
    }


@pytest.mark.parametrize(("name", "block_class"), CONTEXT_BLOCKS.items())
def test_every_block_can_stand_in_the_head_and_in_the_backbone(name, block_class):
    config = narrow()
    config.decode_head.context.block = config.backbone.context.block = name
    config.backbone.context.position = "after_add"
    config.backbone.context.stages = (1,)
    assert context_paths(config) == {
        "backbone.stages.1.0.context": block_class.__name__,
        "backbone.stages.1.1.context": block_class.__name__,
        "decode_head.context": block_class.__name__,
    }


@pytest.mark.parametrize("name", CONTEXT_BLOCKS)
def test_the_configs_section_of_a_block_has_all_its_arguments_with_their_defaults(name):
    parameters = inspect.signature(CONTEXT_BLOCKS[name].__init__).parameters
    expected = {
        key: parameter.default
        for key, parameter in parameters.items()
        if key not in ("self", "channels", "dtype", "rngs")
    }
    section = default_config().model.backbone.context.get(name)
    assert dict(section or {}) == expected


def test_blocks_differ_in_their_options_by_place():
    config = narrow()
    config.backbone.context.block = "global_context"
    config.backbone.context.position = "after_add"
    config.backbone.context.stages = (1,)
    config.backbone.context.global_context.ratio = 1 / 2
    config.decode_head.context.global_context.ratio = 1 / 4
    model = nnx.eval_shape(lambda: build_model(config, num_classes=3))
    assert model.backbone.stages[1][0].context.add.reduce.kernel.shape == (16, 8)
    assert model.decode_head.context.add.reduce.kernel.shape == (16, 4)


@pytest.mark.parametrize("place", ["backbone", "decode_head"])
def test_what_a_block_cannot_be_is_named_with_its_section_once(place):
    config = narrow()
    config[place].context.block = "global_context"
    config.backbone.context.stages, config.backbone.context.position = (1,), "after_add"
    config[place].context.global_context.ratio = 0.001
    with pytest.raises(InputError) as refused:
        build_model(config, num_classes=3)
    section = f"model.{place}.context.global_context"
    assert str(refused.value).startswith(f"{section}: ")
    assert str(refused.value).count("model.") == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module_here:Block", "cannot be imported"),
        ("gcnet_jax.nn:NoSuchBlock", "cannot be imported"),
        (":Block", "expected one of .*MODULE:CLASS"),
        ("gcnet_jax.nn:BatchNorm", "no gcnet_jax.nn.ContextBlock"),
    ],
)
def test_a_block_of_ones_own_that_is_none_is_refused(name, says):
    config = narrow()
    config.decode_head.context.block = name
    with pytest.raises(InputError, match=rf"model\.decode_head\.context\.block.*{says}"):
        build_model(config, num_classes=3)


def test_a_block_of_ones_own_is_taken_by_its_module_and_class():
    config = narrow()
    config.decode_head.context.block = "gcnet_jax.nn:SimplifiedNonLocal"
    assert context_paths(config) == {"decode_head.context": "SimplifiedNonLocal"}
