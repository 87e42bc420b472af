import jax
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.errors import InputError
from gcnet_jax.models import ResNet
from gcnet_jax.nn import AveragePooling, ContextBlock
from gcnet_jax.tasks.segmentation.build_model import build_model, model_config
from gcnet_jax.tasks.segmentation.weights import FOREIGN


def narrow_model(num_classes=5, seed=0, block="global_context", block_in_backbone=""):
    config = model_config("gcnet_r18-d8")
    config.backbone.base_channels = 8
    config.backbone.num_stages = 2
    config.backbone.context.block = block_in_backbone
    config.backbone.context.position = "after_add"
    config.backbone.context.stages = (1,)
    config.backbone.context.global_context.ratio = 1 / 2
    config.decode_head.stage, config.auxiliary_head.stage = 1, 0
    config.decode_head.channels = config.auxiliary_head.channels = 16
    config.decode_head.context.block = block
    return build_model(config, num_classes=num_classes, seed=seed)


@pytest.fixture(scope="module")
def given():
    return FOREIGN.export_state_dict(narrow_model(seed=1))


@pytest.fixture
def model():
    return narrow_model()


def values(model):
    state = nnx.to_pure_dict(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
    return [np.array(leaf) for leaf in jax.tree.leaves(state)]


def test_every_variable_has_a_name_of_its_own(given, model):
    counters = [name for name in given if name.endswith("num_batches_tracked")]
    assert len(given) - len(counters) == len(values(model))
    assert len(counters) == sum(name.endswith("running_var") for name in given)


def test_all_that_differs_is_listed_by_name_and_nothing_is_changed(given, model):
    wrong = dict(given)
    for name in ("backbone.stem.0.weight", "decode_head.gc_block.conv_mask.bias"):
        del wrong[name]
    wrong["neck.weight"] = wrong["neck.bias"] = np.zeros(3, np.float32)
    wrong["decode_head.conv_seg.bias"] = np.zeros(7, np.float32)
    before = values(model)
    with pytest.raises(InputError) as caught:
        FOREIGN.import_state_dict(model, wrong)
    for part in (
        "2 missing: ",
        "backbone.stem.0.weight",
        "decode_head.gc_block.conv_mask.bias",
        "2 unexpected: neck.weight, neck.bias",
        "1 misshaped: decode_head.conv_seg.bias ((7,) instead of (5,))",
    ):
        assert part in str(caught.value)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_fits_is_taken_where_that_is_allowed_and_the_rest_is_told(given, model):
    part = {name: array for name, array in given.items() if not name.startswith("auxiliary_head")}
    part["decode_head.conv_seg.bias"] = np.zeros(7, np.float32)
    initial = FOREIGN.export_state_dict(model)
    left = FOREIGN.import_state_dict(model, part, allow_partial=True)
    assert left.missing
    assert all(name.startswith("auxiliary_head.") for name in left.missing)
    assert left.unexpected == ()
    assert left.misshaped == ("decode_head.conv_seg.bias ((7,) instead of (5,))",)
    after = FOREIGN.export_state_dict(model)
    for name, array in after.items():
        kept = name in left.missing or name == "decode_head.conv_seg.bias"
        np.testing.assert_array_equal(array, (initial if kept else given)[name])


def test_what_is_told_of_the_rest_shows_no_control_characters(given, model):
    left = FOREIGN.import_state_dict(model, {**given, "\x1b[2J": np.zeros(1)}, allow_partial=True)
    assert str(left) == r"1 unexpected: \x1b[2J"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("decode_head.conv_seg.bias", np.nan, "1 of the weights are not finite: decode_head.conv_"),
        ("backbone.layer1.0.bn1.running_mean", np.inf, "not finite: backbone.layer1.0.bn1.runnin"),
        ("decode_head.conv_seg.weight", 1e300, "not finite: decode_head.conv_seg.weight"),
        ("backbone.layer1.0.bn1.running_var", -1.0, "are variances below zero: backbone.layer1.0"),
    ],
)
@pytest.mark.parametrize("allow_partial", [False, True])
def test_weights_that_no_model_can_compute_with_are_refused(
    given, model, name, value, says, allow_partial
):
    spoiled = {**given, name: given[name].astype(np.float64)}
    spoiled[name].flat[-1] = value
    before = values(model)
    with pytest.raises(InputError, match=says):
        FOREIGN.import_state_dict(model, spoiled, allow_partial=allow_partial)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_numbers_that_are_not_taken_may_be_anything(given, model):
    unused = {
        "backbone.layer1.0.bn1.num_batches_tracked": np.array(np.nan),
        "fc.bias": np.array(np.nan),
    }
    FOREIGN.import_state_dict(model, {**given, **unused})


def test_a_transposed_array_of_the_same_size_is_not_taken(given, model):
    wrong = dict(given)
    name = "decode_head.gc_block.channel_add_conv.0.weight"
    wrong[name] = given[name].transpose(1, 0, 2, 3)
    with pytest.raises(InputError, match=r"1 misshaped: decode_head\.gc_block"):
        FOREIGN.import_state_dict(model, wrong)


def test_weights_of_linear_layers_are_taken_for_1x1_convolutions(given, model):
    squeezed = {
        name: array[..., 0, 0] if array.shape[2:] == (1, 1) else array
        for name, array in given.items()
    }
    FOREIGN.import_state_dict(model, squeezed)
    for name, array in FOREIGN.export_state_dict(model).items():
        np.testing.assert_array_equal(array, given[name])


def test_where_nothing_fits_nothing_is_taken_even_if_a_part_would_do(model):
    with pytest.raises(InputError, match="nothing of the weights fits"):
        FOREIGN.import_state_dict(model, {"neck.weight": np.zeros(3)}, allow_partial=True)


def test_the_classifiers_can_be_left_out(given):
    model = narrow_model(num_classes=3)
    initial = FOREIGN.export_state_dict(model)
    FOREIGN.import_state_dict(model, given, leave_out=FOREIGN.outputs)
    for name, array in FOREIGN.export_state_dict(model).items():
        expected = initial[name] if "conv_seg" in name else given[name]
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("block", "in_head", "in_backbone"),
    [
        (
            "global_context",
            "decode_head.gc_block.channel_add_conv.3.bias",
            "backbone.layer2.1.context_block.conv_mask.weight",
        ),
        (
            "non_local",
            "decode_head.nl_block.conv_out.conv.weight",
            "backbone.layer2.1.nonlocal_block.theta.conv.bias",
        ),
        (
            "simplified_non_local",
            "decode_head.simplified_nonlocal_block.conv_value.weight",
            "backbone.layer2.1.simplified_nonlocal_block.conv_mask.bias",
        ),
        (
            "squeeze_excite",
            "decode_head.se_layer.conv1.conv.weight",
            "backbone.layer2.1.se_layer.conv2.conv.bias",
        ),
    ],
)
def test_every_context_block_is_named_in_its_place_and_comes_back(block, in_head, in_backbone):
    given = FOREIGN.export_state_dict(narrow_model(seed=1, block=block, block_in_backbone=block))
    assert in_head in given
    assert in_backbone in given
    model = narrow_model(block=block, block_in_backbone=block)
    FOREIGN.import_state_dict(model, given)
    for name, array in FOREIGN.export_state_dict(model).items():
        np.testing.assert_array_equal(array, given[name], err_msg=name)


def test_two_kinds_of_context_blocks_in_one_network_keep_their_own_names():
    names = FOREIGN.export_state_dict(
        narrow_model(block="global_context", block_in_backbone="non_local")
    )
    assert "decode_head.gc_block.channel_add_conv.0.weight" in names
    assert "backbone.layer2.0.nonlocal_block.conv_out.conv.weight" in names
    assert not any("layer2" in name and "channel_add" in name for name in names)


class OwnBlock(ContextBlock):
    """A context block that the table does not know, with kernels of all ranks."""

    def __init__(self, channels, *, rngs):
        super().__init__(channels, pool=AveragePooling(), add=nnx.Linear(channels, 3, rngs=rngs))
        self.line = nnx.Conv(2, 5, (3,), rngs=rngs)
        self.volume = nnx.Conv(2, 5, (3, 4, 6), rngs=rngs)


def test_a_context_block_of_ones_own_keeps_its_names_and_comes_back():
    source, target = narrow_model(seed=1), narrow_model()
    for seed, network in enumerate((source, target)):
        network.decode_head.context = OwnBlock(16, rngs=nnx.Rngs(seed))
    given = FOREIGN.export_state_dict(source)
    assert given["decode_head.context.add.weight"].shape == (3, 16, 1, 1)
    assert given["decode_head.context.line.weight"].shape == (5, 2, 3)
    assert given["decode_head.context.volume.weight"].shape == (5, 2, 3, 4, 6)
    FOREIGN.import_state_dict(target, given)
    for ours, theirs in zip(values(target), values(source), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def torchvision_layout(state_dict):
    """What torchvision's file of a ResNet holds: the backbone and its ImageNet classifier."""
    return state_dict | {"fc.weight": np.zeros((1000, 8)), "fc.bias": np.zeros(1000)}


def test_a_backbone_is_taken_with_the_imagenet_classifier_beside_it():
    source, target = (
        ResNet(18, variant="v1b", base_channels=8, rngs=nnx.Rngs(seed)) for seed in (0, 1)
    )
    given = FOREIGN.export_state_dict(source)
    assert "conv1.weight" in given
    assert "layer2.0.downsample.1.running_mean" in given
    FOREIGN.import_state_dict(target, torchvision_layout(given))
    for name, array in FOREIGN.export_state_dict(target).items():
        np.testing.assert_array_equal(array, given[name])


def test_torchvisions_own_network_computes_the_same():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torchvision = pytest.importorskip(
        "torchvision", reason="no torchvision that works", exc_type=Exception
    )
    torch.manual_seed(0)
    network = torchvision.models.resnet50(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = network.conv1(images)
        features = network.maxpool(network.relu(network.bn1(features)))
        theirs = network.layer4(network.layer3(network.layer2(network.layer1(features))))

    ours = nnx.eval_shape(lambda: ResNet(50, variant="v1b", output_stride=32, rngs=nnx.Rngs(0)))
    FOREIGN.import_state_dict(ours, {name: x.numpy() for name, x in network.state_dict().items()})
    ours.eval()
    output = np.moveaxis(np.asarray(ours(images.numpy().transpose(0, 2, 3, 1))[-1]), -1, 1)
    np.testing.assert_allclose(output, theirs.numpy(), atol=1e-4 * np.abs(theirs.numpy()).max())
