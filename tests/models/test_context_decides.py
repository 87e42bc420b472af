"""What the quickstart and the ablation claim: only a block leads from the sky to the shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.models import functional
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import DATA_SETS
from gcnet_jax.tasks.segmentation.data.sources.context_shapes import generate

NAMES = DATA_SETS.meaning("context_shapes").names
CONTEXT_CLASSES = [i for i, name in enumerate(NAMES) if name.startswith(("day", "night"))]


def perturbed_apply(file, *variant):
    """The network of a config with no parameter at zero, so that nothing is switched off."""
    config = load_config(file, *variant)
    apply, variables = functional(build_model(config.model, num_classes=len(NAMES)))
    rng = np.random.default_rng(0)
    variables["params"] = jax.tree.map(
        lambda x: x + 0.1 * jnp.asarray(rng.standard_normal(x.shape), jnp.float32),
        variables["params"],
    )
    return jax.jit(apply), variables


@pytest.mark.parametrize(
    ("config", "sees_the_sky"),
    [
        ("context_shapes/fcn.py", False),
        ("context_shapes/gcnet.py", True),
        ("ablation/context_shapes.py:none", False),
        ("ablation/context_shapes.py:gc", True),
        ("ablation/context_shapes.py:gc-conv3", True),
    ],
)
def test_only_with_a_block_do_logits_of_shapes_depend_on_the_sky(root, config, sees_the_sky):
    file, *variant = config.split(":")
    apply, variables = perturbed_apply(root / "configs" / file, *variant)
    for index in range(8):
        (day, label), (night, _) = (generate(7, index, scene) for scene in ("day", "night"))
        shapes = np.isin(label, CONTEXT_CLASSES)
        logits_day = np.asarray(apply(variables, normalize_images(day[None])))[0][shapes]
        logits_night = np.asarray(apply(variables, normalize_images(night[None])))[0][shapes]
        assert (logits_day != logits_night).any() == sees_the_sky
