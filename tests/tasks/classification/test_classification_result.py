"""What the result of one image says."""

import numpy as np
import pytest

from gcnet_jax.tasks.classification.data import ImageClasses
from gcnet_jax.tasks.classification.result import ClassificationResult


def test_a_layer_names_the_most_likely_classes_and_no_place():
    probabilities = np.array([0.1, 0.05, 0.6, 0.0, 0.2, 0.02, 0.03], np.float32)
    image = np.zeros((4, 6, 3), np.uint8)
    result = ClassificationResult(image, probabilities, ImageClasses(tuple("abcdefg")))
    layer = result.layer((4, 6))
    assert [part.name for part in layer.parts] == ["c", "e", "a", "b", "g"]
    assert [part.value for part in layer.parts] == pytest.approx([0.6, 0.2, 0.1, 0.05, 0.03])
    assert layer.regions is None
    assert all(part.box is None for part in layer.parts)
