"""The classifier against the same network written with torch.nn, and its loss against formulas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.errors import InputError
from gcnet_jax.interop import read_torch_checkpoint, write_torch_checkpoint
from gcnet_jax.tasks.classification.classifier import build_model
from gcnet_jax.tasks.classification.config import default_config
from gcnet_jax.tasks.classification.data import ImageClasses
from gcnet_jax.tasks.classification.loss import classification_loss
from gcnet_jax.tasks.classification.weights import FOREIGN, to_torchvision

CLASSES = 7
TOLERANCE = 1e-4  # of the largest logit


def narrow(block: str = "", depth: int = 50):
    config = default_config().model
    config.backbone.depth, config.backbone.base_channels = depth, 8
    config.backbone.context.block = block
    if depth < 50:  # whose residual blocks have no third convolution
        config.backbone.context.position = "after_add"
    return config


def randomized(model, seed=0):
    """Weights, biases and statistics far from those that all networks begin with."""
    rng = np.random.default_rng(seed)
    for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))):
        noise = rng.normal(size=variable.shape).astype(np.float32)
        positive = path[-1] in ("var", "scale")
        variable.set_value(jnp.asarray(0.5 + np.abs(noise) if positive else 0.1 * noise))
    return model


def images(seed=1, size=64):
    return np.random.default_rng(seed).normal(size=(2, size, size, 3)).astype(np.float32)


def torch_resnet(torch, layers, width):
    """ResNet with bottlenecks as torchvision has it, written with torch.nn."""
    functional = torch.nn.functional

    class Bottleneck(torch.nn.Module):
        def __init__(self, channels, inside, stride):
            super().__init__()
            conv, norm = torch.nn.Conv2d, torch.nn.BatchNorm2d
            self.conv1, self.bn1 = conv(channels, inside, 1, bias=False), norm(inside)
            self.conv2 = conv(inside, inside, 3, stride=stride, padding=1, bias=False)
            self.bn2 = norm(inside)
            self.conv3, self.bn3 = conv(inside, 4 * inside, 1, bias=False), norm(4 * inside)
            self.downsample = None
            if stride != 1 or channels != 4 * inside:
                project = conv(channels, 4 * inside, 1, stride=stride, bias=False)
                self.downsample = torch.nn.Sequential(project, norm(4 * inside))

        def forward(self, x):
            y = functional.relu(self.bn1(self.conv1(x)))
            y = functional.relu(self.bn2(self.conv2(y)))
            y = self.bn3(self.conv3(y))
            return functional.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(width)
            channels = width
            for stage, depth in enumerate(layers):
                blocks = []
                for index in range(depth):
                    stride = 2 if stage and not index else 1
                    blocks.append(Bottleneck(channels, width * 2**stage, stride))
                    channels = 4 * width * 2**stage
                setattr(self, f"layer{stage + 1}", torch.nn.Sequential(*blocks))
            self.fc = torch.nn.Linear(channels, CLASSES)

        def forward(self, x):
            x = functional.relu(self.bn1(self.conv1(x)))
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
            for stage in range(4):
                x = getattr(self, f"layer{stage + 1}")(x)
            return self.fc(x.mean((2, 3)))

    return Network()


def test_logits_are_those_of_the_same_network_in_torch_by_torchvisions_names():
    torch = pytest.importorskip("torch")
    model = randomized(build_model(narrow(), num_classes=CLASSES))
    reference = torch_resnet(torch, (3, 4, 6, 3), 8).eval()
    state = to_torchvision(FOREIGN.export_state_dict(model))
    reference.load_state_dict({name: torch.from_numpy(np.array(x)) for name, x in state.items()})
    x = images()
    with torch.no_grad():
        expected = reference(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
    found = np.asarray(model(jnp.asarray(x)))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize(
    ("named", "block"), [(lambda state: state, "global_context"), (to_torchvision, "")]
)
def test_weights_by_mmpretrains_and_by_torchvisions_names_come_in_bit_for_bit(
    named, block, tmp_path
):
    model = randomized(build_model(narrow(block, 18), num_classes=CLASSES))
    classes = ImageClasses.numbered(CLASSES)
    exported = FOREIGN.export_state_dict(model)
    assert exported["head.fc.weight"].shape == (CLASSES, 64)
    write_torch_checkpoint(tmp_path / "x.pth", named(exported), FOREIGN.meaning_to_meta(classes))
    read = read_torch_checkpoint(tmp_path / "x.pth")
    assert FOREIGN.meaning_from_meta(read.meta) == classes
    other = build_model(narrow(block, 18), num_classes=CLASSES, seed=3)
    assert not FOREIGN.import_state_dict(other, read.state_dict)
    for name, array in FOREIGN.export_state_dict(other).items():
        np.testing.assert_array_equal(array, exported[name])


@pytest.mark.parametrize(
    ("block", "variant", "names"),
    [
        ("global_context", "v1b", "context_block"),
        ("", "v1c", r"stem\.0"),
        ("", "v1d", r"layer2\.0\.downsample\.2"),
    ],
)
def test_what_torchvision_has_not_is_not_written_by_its_names(block, variant, names):
    config = narrow(block, 18)
    config.backbone.variant = variant
    state = FOREIGN.export_state_dict(build_model(config, num_classes=CLASSES))
    with pytest.raises(InputError, match=rf"no place for \d+ entries, such as \S*{names}"):
        to_torchvision(state)


def test_a_backbone_takes_a_classifiers_file_and_leaves_the_classifier():
    model = randomized(build_model(narrow(depth=18), num_classes=CLASSES))
    state = to_torchvision(FOREIGN.export_state_dict(model))
    backbone = build_model(narrow(depth=18), num_classes=3, seed=9).backbone
    FOREIGN.import_state_dict(backbone, state)
    np.testing.assert_array_equal(
        backbone(jnp.asarray(images()))[-1], model.backbone(jnp.asarray(images()))[-1]
    )


@pytest.mark.parametrize(
    "block", ["global_context", "non_local", "simplified_non_local", "squeeze_excite"]
)
def test_blocks_stand_in_c3_to_c5_of_all_residual_blocks(block):
    model = nnx.eval_shape(lambda: build_model(narrow(block), num_classes=CLASSES))
    has = [[b.context is not None for b in stage] for stage in model.backbone.stages]
    assert has == [[False] * 3, [True] * 4, [True] * 6, [True] * 3]


def test_parameters_are_those_of_the_papers_networks():
    """25.56 million of torchvision's ResNet-50, and 28.08 with blocks of ratio 1/16 (GCNet)."""
    config = default_config().model
    sizes = {}
    for block in ("", "global_context"):
        config.backbone.context.block = block
        model = nnx.eval_shape(lambda: build_model(config, num_classes=1000))
        params = jax.tree.leaves(nnx.state(model, nnx.Param))
        sizes[block] = sum(x.size for x in params) / 1e6
    assert sizes[""] == pytest.approx(25.557, abs=1e-3)
    assert sizes["global_context"] == pytest.approx(28.08, abs=0.02)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_the_smoothed_target(smoothing):
    @dataclasses.dataclass
    class Fixed:
        logits: jax.Array

        def __call__(self, images, *, rngs):
            return self.logits

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, CLASSES)), rng.integers(0, CLASSES, 5)
    batch = {"image": np.zeros((5, 8, 8, 3), np.uint8), "label": labels.astype(np.int32)}
    loss, metrics = classification_loss(smoothing)(
        Fixed(jnp.asarray(logits, jnp.float32)), batch, nnx.Rngs(0)
    )
    target = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    log_shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(loss, -(target * log_shares).sum(-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (logits.argmax(-1) == labels).mean())


def test_dropout_in_training_mode_asks_for_random_numbers():
    config = narrow(depth=18)
    config.dropout_rate = 0.5
    model = build_model(config, num_classes=CLASSES)
    model.train()
    with pytest.raises(InputError, match="random numbers"):
        model(jnp.asarray(images()))


def test_jvp_and_vmap_of_grad_go_through_the_network():
    config = narrow("global_context", 18)
    config.backbone.num_stages, config.backbone.context.stages = 2, (1,)
    model = build_model(config, num_classes=CLASSES)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    x = jnp.asarray(images(size=32))

    def score(params, image):
        return nnx.merge(graphdef, params, rest, copy=True)(image[None])[0, 0]

    per_image = jax.jit(jax.vmap(jax.grad(score), (None, 0)))(params, x)
    _, along = jax.jit(lambda x: jax.jvp(lambda image: score(params, image), (x,), (x,)))(x[0])
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(per_image))
    assert np.isfinite(along)
