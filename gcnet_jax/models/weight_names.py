"""What OpenMMLab and torchvision call the weights of backbones and necks."""

from flax import nnx

from gcnet_jax.models.resnet import ResNet
from gcnet_jax.nn.weight_names import Rows

_DEEP_STEM: Rows = (
    (r"stem\.0\.conv", "stem.0"),
    (r"stem\.0\.norm", "stem.1"),
    (r"stem\.1\.conv", "stem.3"),
    (r"stem\.1\.norm", "stem.4"),
    (r"stem\.2\.conv", "stem.6"),
    (r"stem\.2\.norm", "stem.7"),
)
_PLAIN_SHORTCUT: Rows = (
    (r"shortcut\.project\.conv", "downsample.0"),
    (r"shortcut\.project\.norm", "downsample.1"),
)
_POOLED_SHORTCUT: Rows = (
    (r"shortcut\.project\.conv", "downsample.1"),
    (r"shortcut\.project\.norm", "downsample.2"),
)
_BACKBONES: dict[str, Rows] = {
    "v1b": ((r"stem\.0\.conv", "conv1"), (r"stem\.0\.norm", "bn1"), *_PLAIN_SHORTCUT),
    "v1c": (*_DEEP_STEM, *_PLAIN_SHORTCUT),
    "v1d": (*_DEEP_STEM, *_POOLED_SHORTCUT),
}
FEATURE_PYRAMID: Rows = (
    (r"laterals\.(\d+)", r"lateral_convs.\1.conv"),
    (r"outputs\.(\d+)", r"fpn_convs.\1.conv"),
)
"""The rows for a feature pyramid."""
_STAGES: Rows = (
    (r"stages\.0", "layer1"),
    (r"stages\.1", "layer2"),
    (r"stages\.2", "layer3"),
    (r"stages\.3", "layer4"),
    (r"conv(\d)\.conv", r"conv\1"),
    (r"conv(\d)\.norm", r"bn\1"),
    (r"conv(\d)\.offset", r"conv\1.conv_offset"),
)


def backbone_names(model: nnx.Module) -> Rows:
    """The rows for the backbone that a model is, or has.

    OpenMMLab's ResNets (v1b, v1c, v1d) and torchvision's, which are v1b, share one naming.
    """
    modules = (module for _, module in nnx.iter_graph(model))
    variants = {module.variant for module in modules if isinstance(module, ResNet)}
    return (*(row for variant in sorted(variants) for row in _BACKBONES[variant]), *_STAGES)
