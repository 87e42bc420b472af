"""A detector's training step by part: each with its gradient a program, fed by the one before."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Integer, UInt8

from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.detection.detector import MASK_BINS, Detector, Pyramid, padded
from gcnet_jax.tasks.detection.detector_losses import (
    anchor_losses,
    box_head_losses,
    mask_head_loss,
    positive_regions,
    sampled_regions,
)
from gcnet_jax.tasks.detection.objects import Objects
from gcnet_jax.tasks.detection.proposals import Level, Proposals
from gcnet_jax.tasks.detection.region_sampling import Regions

BACKBONE = "backbone and pyramid"
HEAD = "proposal head"
ANCHORS = "targets and loss of anchors"
PROPOSALS = "proposals"
REGIONS = "sampling of regions"
BOX_FEATURES = "RoIAlign of boxes"
BOX_HEAD = "box head and loss"
MASK_FEATURES = "RoIAlign of masks"
MASK_HEAD = "mask head, targets and loss"
OPTIMIZER = "optimizer"

_Maps = tuple[Float[Array, "b _h _w c"], ...]


class DetectorTrainingParts:
    """The parts of a training step of a detector with one stage of heads, run once in turn.

    What is differentiated runs forward and backward, for the part's own parameters and for what it
    gets from the part before. What it passes on gets a gradient of ones, and so does a loss.

    Args:
        model: in training mode.
        batch: 8-bit images that fill their arrays, and their objects with masks.
        optimizer: of the step.

    Attributes:
        parts: what runs each part alone, by name, in the order of the data.
        outputs: of each part but the optimizer: what is passed on, or losses by name.
        positive: the regions that masks are learnt in.
    """

    def __init__(
        self,
        model: Detector,
        batch: Mapping[str, jax.Array],
        optimizer: optax.GradientTransformation,
    ):
        self._model = model
        self.parts: dict[str, Callable[[], Any]] = {}
        self.outputs: dict[str, Any] = {}
        sizes = batch["size"]
        objects = Objects(batch["boxes"], batch["classes"], batch["valid"])

        maps, own = self._add(BACKBONE, ["backbone", "neck"], _maps, None, batch["image"], sizes)
        levels, _ = self._add(HEAD, ["rpn_head"], _levels, maps)
        self._add(ANCHORS, [], _anchor_losses, levels, sizes, objects)
        proposals = self._add_plain(PROPOSALS, _proposals, levels, sizes)
        regions = self._add_plain(REGIONS, _regions, proposals, objects)
        features, _ = self._add(BOX_FEATURES, [], _box_features, maps, own, regions.boxes)
        self._add(BOX_HEAD, ["box_heads"], _box_losses, features, regions, objects)
        self.positive = positive = positive_regions(model, regions)
        features, _ = self._add(MASK_FEATURES, [], _mask_features, maps, own, positive.boxes)
        of_objects = batch["classes"], batch["masks"], padded(sizes)
        self._add(MASK_HEAD, ["mask_heads"], _mask_loss, features, positive, *of_objects)
        self._add_optimizer(optimizer)

    @property
    def losses(self) -> dict[str, float]:
        """The losses by name."""
        metrics = {}
        for name in (ANCHORS, BOX_HEAD, MASK_HEAD):
            metrics |= self.outputs[name][0]
        return {name: float(x) for name, x in metrics.items() if name.endswith("loss")}

    def facts(self) -> dict[str, float]:
        """What was worked through in an image on the average."""
        anchors, regions = self.outputs[ANCHORS][1], self.outputs[REGIONS]
        images = len(regions.boxes)
        counts = {
            "proposals": self.outputs[PROPOSALS].valid,
            "sampled anchors": anchors.sampled,
            "positive anchors": anchors.positive,
            "sampled regions": regions.valid,
            "positive regions": regions.positive,
        }
        return {name: float(x.sum()) / images for name, x in counts.items()}

    def _add(
        self,
        name: str,
        modules: Sequence[str],
        function: Callable[..., tuple[Any, Any]],
        given: Any,
        *others: Any,
    ) -> tuple[Any, Any]:
        """Compiles a part that is differentiated, and runs it for the first time.

        Args:
            name: of the part.
            modules: of the model whose parameters are its own.
            function: of the model, what is given and the others; returns what is differentiated,
                and what is not.
            given: what gets a gradient.
            *others: what gets none.
        """
        graphdef, own, rest = nnx.split(
            self._model, lambda path, x: path[0] in modules and isinstance(x, nnx.Param), ...
        )

        def forward(own: Any, given: Any, rest: Any, others: Any) -> tuple[Any, Any]:
            return function(nnx.merge(graphdef, own, rest, copy=True), given, *others)

        @jax.jit
        def run(own: Any, given: Any, rest: Any, others: Any) -> Any:
            outputs, transpose, unchanged = jax.vjp(
                lambda own, given: forward(own, given, rest, others), own, given, has_aux=True
            )
            return (outputs, unchanged), transpose(jax.tree.map(jnp.ones_like, outputs))

        self.parts[name] = lambda: run(own, given, rest, others)
        self.outputs[name] = jax.block_until_ready(self.parts[name]())[0]
        return self.outputs[name]

    def _add_plain(self, name: str, function: Callable[..., Any], *given: Any) -> Any:
        graphdef, state = nnx.split(self._model)
        run = jax.jit(lambda state, *x: function(nnx.merge(graphdef, state), *x))
        self.parts[name] = lambda: run(state, *given)
        self.outputs[name] = jax.block_until_ready(self.parts[name]())
        return self.outputs[name]

    def _add_optimizer(self, optimizer: optax.GradientTransformation) -> None:
        params = nnx.to_pure_dict(nnx.state(self._model, nnx.Param))

        @jax.jit
        def update(params: Any, state: optax.OptState, gradients: Any) -> Any:
            updates, state = optimizer.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
            return params, state, optax.tree.norm(gradients), optax.tree.norm(params)

        state, gradients = optimizer.init(params), jax.tree.map(jnp.ones_like, params)
        self.parts[OPTIMIZER] = lambda: update(params, state, gradients)
        jax.block_until_ready(self.parts[OPTIMIZER]())


def _maps(
    model: Detector, _: None, images: UInt8[Array, "b h w 3"], sizes: Integer[Array, "b 2"]
) -> tuple[_Maps, tuple[Int[Array, "b 2"], ...] | None]:
    pyramid = model.pyramid(normalize_images(images, sizes), sizes)
    return pyramid.maps, pyramid.sizes


def _levels(model: Detector, maps: _Maps) -> tuple[list[Level], None]:
    return model.rpn(Pyramid(maps, None)), None


def _anchor_losses(
    model: Detector, levels: list[Level], sizes: Integer[Array, "b 2"], objects: Objects
) -> tuple[Any, Any]:
    return anchor_losses(model, levels, sizes, objects, _draws())


def _proposals(model: Detector, levels: list[Level], sizes: Integer[Array, "b 2"]) -> Proposals:
    return model.propose(levels, sizes, model.settings.training_proposals)


def _regions(model: Detector, proposals: Proposals, objects: Objects) -> Regions:
    return sampled_regions(model, 0, proposals.boxes, proposals.valid, objects, _draws())


def _box_features(
    model: Detector, maps: _Maps, own: Any, boxes: Float[Array, "b n 4"]
) -> tuple[Float[Array, "b_n bins bins c"], None]:
    return model.features(Pyramid(maps, own), boxes, model.box_heads[0].bins), None


def _box_losses(
    model: Detector, features: Float[Array, "b_n bins bins c"], regions: Regions, objects: Objects
) -> tuple[dict[str, Float[Array, ""]], Any]:
    outputs = logits, deltas = model.box_heads[0](features)
    rows = regions.valid.shape
    logits, deltas = logits.reshape(*rows, -1), deltas.reshape(*rows, -1, 4)
    return box_head_losses(model, 0, logits, deltas, regions, objects), outputs


def _mask_features(
    model: Detector, maps: _Maps, own: Any, boxes: Float[Array, "b n 4"]
) -> tuple[Float[Array, "b_n bins bins c"], None]:
    return model.features(Pyramid(maps, own), boxes, MASK_BINS), None


def _mask_loss(
    model: Detector, features: Float[Array, "b_n bins bins c"], regions: Regions, *objects: Any
) -> tuple[dict[str, Float[Array, ""]], Bool[Array, "b n side side"]]:
    loss, targets = mask_head_loss(model, 0, features, regions, *objects)
    return {"mask_loss": loss}, targets


def _draws() -> nnx.Rngs:
    return nnx.Rngs(sampling=0)
