"""State dicts of PyTorch's libraries: how their entries are called and laid out.

What each variable is called there is said by tables that lie beside the networks: import looks the
names up, export writes under them.
"""

import dataclasses
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Shaped

from gcnet_jax.errors import InputError, printable
from gcnet_jax.nn import ContextBlock, DeformableConv
from gcnet_jax.nn.weight_names import Rows, context_block_names

StateDict = Mapping[str, Shaped[np.ndarray, "..."]]

_VARIABLES: Rows = (
    (r"kernel", "weight"),
    (r"scale", "weight"),
    (r"mean", "running_mean"),
    (r"var", "running_var"),
)

_COUNTER = "num_batches_tracked"  # an entry of theirs that says nothing here
# What a file of a backbone has besides: the classifier that it was trained with.
_CLASSIFIER_OF_BACKBONE = re.compile(r"fc\.(weight|bias)")


@dataclasses.dataclass(frozen=True)
class Layers:
    """The entries that are laid out otherwise than a convolution's, by patterns of whole names.

    Attributes:
        linear: kernels and biases of linear layers, which have no spatial axes there. Those that
            see a whole map have its channels and positions on one axis, in this order.
        transposed: kernels and biases of transposed convolutions, whose kernels begin with the
            channels that go in.
    """

    linear: re.Pattern[str] | None = None
    transposed: re.Pattern[str] | None = None


_CONVOLUTIONS = Layers()


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """In what a state dict and a model differ.

    Attributes:
        missing: entries that the model needs and the state dict lacks.
        unexpected: entries that the model has no place for.
        misshaped: entries of another shape, as `name (found instead of expected)`.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshaped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        parts = dataclasses.asdict(self).items()
        shown = "; ".join(f"{len(n)} {kind}: {', '.join(n)}" for kind, n in parts if n)
        return printable(shown)  # the names are a file's


def import_state_dict(
    model: nnx.Module,
    state_dict: StateDict,
    names: Rows = (),
    *,
    layers: Layers = _CONVOLUTIONS,
    allow_partial: bool = False,
    leave_out: re.Pattern[str] | None = None,
    may_lack: Collection[str] = (),
) -> Mismatch:
    """Writes the arrays of a state dict into a model, after checking all of them.

    Args:
        model: a network, or a part of one.
        state_dict: arrays by their names, in PyTorch's layout.
        names: the rows for what is not in a context block, whose own are known here.
        layers: what is no convolution there, unless it is one of 1x1 in another shape.
        allow_partial: whether to take what fits where the two differ.
        leave_out: names to pass over on both sides; the model keeps what it has there.
        may_lack: names that the state dict need not have; the model keeps what it has there.

    Returns:
        What was left, empty unless `allow_partial`.

    Raises:
        InputError: the two differ, have nothing in common, or a number is none that a model can
            compute with; the message lists every entry, and the model is as it was.
    """
    variables = _variables(model)
    given = {
        name: array
        for name, array in state_dict.items()
        if name.rpartition(".")[2] != _COUNTER and not _CLASSIFIER_OF_BACKBONE.fullmatch(name)
    }
    places = {name: key for key, name in _names(model, names).items()}
    if leave_out is not None:
        given = {name: array for name, array in given.items() if not leave_out.fullmatch(name)}
        places = {name: key for name, key in places.items() if not leave_out.fullmatch(name)}
    layouts = {
        name: _layout(key, name, variables[key].shape, layers) for name, key in places.items()
    }
    expected = {name: layout.shape for name, layout in layouts.items()}
    fitting = {
        name: layouts[name].from_torch(given[name])
        for name in given
        if name in expected and _essential(given[name].shape) == _essential(expected[name])
    }
    mismatch = Mismatch(
        missing=tuple(name for name in expected if name not in given and name not in may_lack),
        unexpected=tuple(name for name in given if name not in expected),
        misshaped=tuple(
            f"{name} ({given[name].shape} instead of {expected[name]})"
            for name in given
            if name in expected and name not in fitting
        ),
    )
    if mismatch and not allow_partial:
        raise InputError(f"the weights are not this model's: {mismatch}")
    if not fitting:
        raise InputError(f"nothing of the weights fits this model: {mismatch}")
    check_weights(fitting)
    for name, array in fitting.items():
        variable = variables[places[name]]
        variable.set_value(jnp.asarray(array.reshape(variable.shape)))
    return mismatch


def check_weights(arrays: Mapping[str, Shaped[np.ndarray | Array, "..."]]) -> None:
    """Raises InputError if a model would compute nothing with such weights, and say nothing of it.

    With a weight that is not finite, or a variance below zero, scores are no numbers, and the class
    of every pixel is the first.

    Args:
        arrays: by any names of which those of variances end in `var`.
    """
    numbers = {name: np.asarray(array) for name, array in arrays.items()}
    infinite = [name for name, x in numbers.items() if not np.isfinite(x).all()]
    negative = [name for name, x in numbers.items() if name.endswith("var") and (x < 0).any()]
    for names, what in ((infinite, "are not finite"), (negative, "are variances below zero")):
        if names:
            raise InputError(f"{len(names)} of the weights {what}: {', '.join(names)}")


def export_state_dict(
    model: nnx.Module,
    names: Rows = (),
    *,
    spatial_axes: int = 2,
    layers: Layers = _CONVOLUTIONS,
) -> dict[str, np.ndarray]:
    """The arrays of a model by the names of a state dict, in PyTorch's layout.

    Batch normalisation gets its counter `num_batches_tracked`, at zero: with a fixed momentum
    nothing depends on it.

    Args:
        model: a network, or a part of one.
        names: the rows for what is not in a context block, whose own are known here.
        spatial_axes: of the features that 1x1 convolutions are meant for.
        layers: what is no convolution there.
    """
    state_dict = {}
    variables = _variables(model)
    for key, name in _names(model, names).items():
        array = np.asarray(variables[key][...])
        layout = _layout(key, name, array.shape, layers, spatial_axes)
        state_dict[name] = layout.to_torch(array)
        if name.endswith("running_var"):
            counter = f"{name.removesuffix('running_var')}{_COUNTER}"
            state_dict[counter] = np.zeros((), np.int64)
    return state_dict


def added_entries(model: nnx.Module, names: Rows) -> frozenset[str]:
    """The names of the entries that a network has beyond the plain one of its kind.

    They belong to its context blocks, or compute the offsets of its deformable convolutions.
    """
    paths = [
        ".".join(map(str, (*path, "offset") if isinstance(module, DeformableConv) else path))
        for path, module in nnx.iter_graph(model)
        if isinstance(module, ContextBlock | DeformableConv)
    ]
    return frozenset(
        name
        for key, name in _names(model, names).items()
        if any(key.startswith(f"{path}.") for path in paths)
    )


def _variables(model: nnx.Module) -> dict[str, Any]:
    """The model's variables by their path, parts joined by dots."""
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}


def _names(model: nnx.Module, rows: Rows) -> dict[str, str]:
    """What each variable of a model is called in a state dict."""
    blocks = {
        ".".join(map(str, path)): module
        for path, module in nnx.iter_graph(model)
        if isinstance(module, ContextBlock)
    }
    names = {}
    for key in _variables(model):
        names[key] = _rewritten(key, (*rows, *_VARIABLES))
        for path, block in blocks.items():
            inside = key.removeprefix(f"{path}.") if path else key
            if not path or inside != key:
                name, block_rows = context_block_names(block)
                outside = re.sub("context$", f"{name}.", path)
                names[key] = _rewritten(outside, rows) + _rewritten(
                    inside, (*block_rows, *_VARIABLES)
                )
    return names


def _rewritten(name: str, rows: Rows) -> str:
    for ours, theirs in rows:
        name = re.sub(rf"(?<![^.]){ours}(?![^.])", theirs, name)
    return name


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How an array lies in PyTorch.

    Attributes:
        axes: of ours, in the order that they have there.
        split: the sizes of these axes.
        shape: the shape there, in which some of them may be one.
    """

    axes: tuple[int, ...]
    split: tuple[int, ...]
    shape: tuple[int, ...]

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.transpose(self.axes).reshape(self.shape))

    def from_torch(self, array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is looked for
            array = np.asarray(array, np.float32)
        return array.reshape(self.split).transpose(np.argsort(self.axes))


def _layout(
    key: str, name: str, shape: tuple[int, ...], layers: Layers, spatial_axes: int = 2
) -> _Layout:
    """The layout of a variable of this shape.

    What is a linear layer on the channels here is a 1x1 convolution there, unless `layers` says
    otherwise, and the LayerNorm of a context block is one over (channels, 1, 1).
    """
    if len(shape) <= 1:
        norm = re.search(r"(add|multiply)\.norm\.", key)
        return _Layout((0,) * len(shape), shape, (*shape, *(1,) * spatial_axes) if norm else shape)
    *spatial, channels_in, channels_out = range(len(shape))
    first, second = channels_out, channels_in
    if layers.transposed is not None and layers.transposed.fullmatch(name):
        first, second = second, first
    axes = (first, second, *spatial)
    split = tuple(shape[axis] for axis in axes)
    if layers.linear is not None and layers.linear.fullmatch(name):
        return _Layout(axes, split, (split[0], math.prod(split[1:])))
    return _Layout(axes, split, split if spatial else (*split, *(1,) * spatial_axes))


def _essential(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its last axes of size one, which depend on the number of spatial axes."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape
