"""Published networks as narrow as the stored cases have them, with the weights of their names."""

from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.weights import FOREIGN
from tests.conftest import ROOT
from tests.reference import arrays


def narrow_segmentor(run, width, num_classes):
    """The network of a published run without dropout, its stem of `width` channels, not of 64."""
    config = load_config(ROOT / "configs" / "gcnet" / f"{run}.py").model
    config.backbone.base_channels = width
    for head in (config.decode_head, config.auxiliary_head):
        head.channels = head.channels * width // 64
        head.dropout_rate = 0.0
    model = build_model(config, num_classes=num_classes)
    layout = {name: array.shape for name, array in FOREIGN.export_state_dict(model).items()}
    FOREIGN.import_state_dict(model, arrays.state_dict(layout))
    return model
