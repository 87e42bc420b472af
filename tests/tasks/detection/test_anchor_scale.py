import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.config import check_config
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.config import SCHEMA
from gcnet_jax.tasks.detection.proposals import Level, anchor_targets, propose
from gcnet_jax.tasks.detection.settings import ProposalSettings, RPNTraining, settings_of

SIZE = np.array([64, 64])


@pytest.mark.parametrize("scale", [8.0, 2.0])
def test_anchors_are_as_large_as_the_config_says_in_proposals_and_targets(scale):
    config = SCHEMA.default()
    config.model.rpn.anchor_scale = scale
    settings = settings_of(config.model)
    assert settings.anchor_scale == scale
    logits = jnp.zeros((16, 16, 3)).at[8, 8, 1].set(1)
    levels = [Level(logits, jnp.zeros((16, 16, 3, 4)))]
    found = propose(levels, [4], SIZE, SIZE, ProposalSettings(100, 1), anchor_scale=scale)
    half = 4 * scale / 2
    box = np.array([32 - half, 32 - half, 32 + half, 32 + half])
    np.testing.assert_allclose(found.boxes[0], box)
    targets = anchor_targets(
        [(16, 16)],
        [4],
        SIZE,
        SIZE,
        box[None],
        np.array([True]),
        np.zeros(768),
        RPNTraining(),
        anchor_scale=scale,
    )
    best = 3 * (16 * 8 + 8) + 1
    assert targets.positive[best]
    np.testing.assert_allclose(targets.deltas[best], 0, atol=1e-6)


def test_devices_cannot_share_an_image():
    config = SCHEMA.default()
    config.parallel.spatial = 2
    with pytest.raises(InputError, match=r"parallel\.spatial is 2; expected 1"):
        check_config(config, SCHEMA)
