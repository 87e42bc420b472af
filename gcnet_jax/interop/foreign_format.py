"""How foreign libraries call and lay out the networks of a task, both ways."""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from flax import nnx

from gcnet_jax.interop import state_dicts
from gcnet_jax.interop.state_dicts import Layers, Mismatch, StateDict
from gcnet_jax.models import backbone_names
from gcnet_jax.nn.weight_names import Rows

M = TypeVar("M")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignFormat(Generic[M]):
    """State dicts of a task's networks, their backbones and context blocks.

    Attributes:
        names: the rows for what is the task's own, or what gives them for a network; those of
            backbones and context blocks are known here.
        outputs: the entries whose shapes depend on what outputs mean.
        layers: which entries are of no convolutions there.
        meaning_to_meta: the `meta` of a `.pth` file that says to OpenMMLab's libraries what the
            outputs mean.
        meaning_from_meta: the other way round; None if it says nothing.
        renamed: takes a whole network's entries by the names of another library to those that
            `names` are for.
        to_torchvision: the other way round, by torchvision's names. It raises InputError if
            torchvision has no such network, and is None if it has none of the task's kind.
    """

    names: Rows | Callable[[nnx.Module], Rows]
    outputs: re.Pattern[str]
    layers: Layers = dataclasses.field(default_factory=Layers)
    meaning_to_meta: Callable[[M], dict[str, Any]]
    meaning_from_meta: Callable[[Mapping[str, Any]], M | None]
    renamed: Callable[[StateDict], StateDict] | None = None
    to_torchvision: Callable[[StateDict], StateDict] | None = None

    def import_state_dict(
        self,
        model: nnx.Module,
        state_dict: StateDict,
        *,
        allow_partial: bool = False,
        leave_out: re.Pattern[str] | None = None,
        may_lack: Collection[str] = (),
    ) -> Mismatch:
        """Writes arrays into a network, a backbone or a context block.

        See `gcnet_jax.interop.import_state_dict`, which this hands the names.
        """
        if self.renamed is not None and hasattr(model, "backbone"):
            state_dict = self.renamed(state_dict)
        return state_dicts.import_state_dict(
            model,
            state_dict,
            self._names(model),
            layers=self.layers,
            allow_partial=allow_partial,
            leave_out=leave_out,
            may_lack=may_lack,
        )

    def export_state_dict(
        self, model: nnx.Module, *, spatial_axes: int = 2
    ) -> dict[str, np.ndarray]:
        """The arrays of a network, a backbone or a context block.

        See `gcnet_jax.interop.export_state_dict`, which this hands the names.
        """
        return state_dicts.export_state_dict(
            model,
            self._names(model),
            spatial_axes=spatial_axes,
            layers=self.layers,
        )

    def added_entries(self, backbone: nnx.Module) -> frozenset[str]:
        """The names of the entries that a backbone has beyond the plain one of its kind."""
        return state_dicts.added_entries(backbone, self._names(backbone))

    def _names(self, model: nnx.Module) -> Rows:
        names = self.names(model) if callable(self.names) else self.names
        return (*backbone_names(model), *names)
