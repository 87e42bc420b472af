"""The weights, inputs and labels that the reference outputs were made with, from their names."""

import zlib

import numpy as np

from tests.reference import golden_files


def _generator(name):
    return np.random.default_rng([golden_files.seed(), zlib.crc32(name.encode())])


def normal(name, shape):
    """A float32 input: standard normal."""
    return _generator(name).standard_normal(shape).astype(np.float32)


def labels(name, shape, classes, ignored=0.1):
    """Uniform labels, of which a share is 255."""
    generator = _generator(name)
    drawn = generator.integers(0, classes, shape)
    drawn[generator.random(shape) < ignored] = 255
    return drawn.astype(np.uint8)


def weight(name, shape):
    """The state dict entry of that name and shape."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    generator = _generator(name)
    is_scale = name.endswith("weight") and (len(shape) == 1 or tuple(shape[1:]) == (1, 1))
    if is_scale or name.endswith("running_var"):
        # The last scale of a residual branch is small, which keeps deep sums small.
        size = 0.2 if name.endswith("bn3.weight") else 1.0
        return (size * generator.uniform(0.5, 1.5, shape)).astype(np.float32)
    if name.endswith(("bias", "running_mean")):
        return (0.1 * generator.standard_normal(shape)).astype(np.float32)
    fan_in = max(int(np.prod(shape[1:])), 1)
    kernel = np.sqrt(2.0 / fan_in) * generator.standard_normal(shape)
    if all(size == 1 for size in shape[2:]):
        kernel = kernel - kernel.mean(1, keepdims=True)
    return kernel.astype(np.float32)


def state_dict(layout):
    """All entries of a layout `{name: shape}`."""
    return {name: weight(name, shape) for name, shape in layout.items()}
