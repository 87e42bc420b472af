"""A detector's inference by part: each part a program of its own, fed by the one before."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from benchmarks.detection_operators import samples_of_bins
from benchmarks.detection_weights import add_in_blocks, spread, spread_proposals
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.tasks.detection.detector import MASK_BINS, Detections, Detector, HeadOutputs
from gcnet_jax.tasks.detection.regions.levels import region_levels
from gcnet_jax.tasks.detection.regions.pasting import paste

NETWORKS = frozenset({"backbone and pyramid", "proposal head", "box head", "mask head"})
"""The parts that are convolutions and matrix products; what else there is, is the rest."""

_BOX_DEVIATION = 1.2
_BACKGROUND = 2.5
_DELTAS_DEVIATION = 1.0
_MASK_DEVIATION = 2.0


class DetectorParts:
    """The parts of a detector with one stage of heads, run once in turn.

    Weights are random, and outputs of random weights are all alike: no detection would pass the
    threshold. So what each output layer says is spread, channel by channel, as trained networks
    spread it: then there are as many proposals and detections as the settings allow, and thousands
    of pairs of a box and a class to choose among.

    Args:
        model: whose output layers are changed.
        images: normalised, zero around what is smaller than the array.
        sizes: of the images.

    Attributes:
        parts: what runs each part alone, by name, in the order of the data.
        outputs: of each part.
        whole: runs all but the pasting, as one program.
        detections: of the whole.
    """

    def __init__(
        self, model: Detector, images: Float[np.ndarray, "b h w 3"], sizes: Int[np.ndarray, "b 2"]
    ):
        self._model = model
        self.parts: dict[str, Callable[[], Any]] = {}
        self.outputs: dict[str, Any] = {}
        add_in_blocks(model)
        sizes_of, rules = jnp.asarray(sizes), model.settings.proposals
        batch = jnp.asarray(images)

        pyramid = self._add("backbone and pyramid", Detector.pyramid, batch, sizes_of)
        levels = self._add("proposal head", Detector.rpn, pyramid)
        spread_proposals(model, levels)
        levels = self._add("proposal head", Detector.rpn, pyramid)
        proposals = self._add(
            "proposals", lambda model, *x: model.propose(*x, rules), levels, sizes_of
        )
        features = self._add(
            "RoIAlign of boxes",
            lambda model, *x: model.features(*x, model.box_heads[0].bins),
            pyramid,
            proposals.boxes,
        )
        logits, deltas = self._add("box head", lambda model, x: model.box_heads[0](x), features)
        spread(model.box_heads[0].logits, logits, _BOX_DEVIATION)
        bias: Any = model.box_heads[0].logits.bias  # which Flax types as one that may be absent
        bias[...] = bias[...].at[-1].add(_BACKGROUND)
        spread(model.box_heads[0].deltas, deltas.reshape(len(deltas), -1), _DELTAS_DEVIATION)
        logits, deltas = self._add("box head", lambda model, x: model.box_heads[0](x), features)
        rows = proposals.boxes.shape[:2]
        outputs = HeadOutputs(
            (proposals.boxes,),
            (logits.reshape(*rows, -1),),
            (deltas.reshape(*rows, -1, 4),),
        )
        boxes, _, classes, _ = self._add(
            "detections", lambda model, *x: model.detect(*x), outputs, proposals.valid, sizes_of
        )
        features = self._add(
            "RoIAlign of masks", lambda model, *x: model.features(*x, MASK_BINS), pyramid, boxes
        )
        logits = jax.jit(lambda model, x: model.mask_heads[0](x))(model, features)
        spread(model.mask_heads[0].logits, logits, _MASK_DEVIATION)
        masks = self._add("mask head", _masks, features, classes)
        shape = (int(sizes[:, 0].max()), int(sizes[:, 1].max()))
        self._add("pasting", lambda _, *x: _paste(x[0], x[1], shape), masks, boxes)

        graphdef, variables = split_for_evaluation(model)
        run = jax.jit(lambda variables, *x: merge(graphdef, variables)(*x))
        self.whole: Callable[[], Detections] = lambda: run(variables, batch, sizes_of)
        self.detections = jax.block_until_ready(self.whole())

    def facts(self) -> dict[str, Any]:
        """What was worked through in an image on the average, and how large its regions are."""
        proposals, (logits, _) = self.outputs["proposals"], self.outputs["box head"]
        images = len(proposals.boxes)
        scores = jax.nn.softmax(logits)[:, :-1]
        pairs = scores > self._model.settings.detections.score_threshold
        boxes = proposals.boxes.reshape(-1, 4)
        levels = np.asarray(region_levels(boxes))
        shares = np.bincount(levels, minlength=4) / len(boxes)
        samples = samples_of_bins(np.asarray(boxes), levels)
        return {
            "proposals": float(proposals.valid.sum()) / images,
            "share_of_proposals_by_level": shares.tolist(),
            "share_of_more_than_2_samples": float((samples > 2).mean()),
            "share_of_more_than_4_samples": float((samples > 4).mean()),
            "pairs_of_box_and_class": float(pairs.sum()) / images,
            "detections": float(self.detections.valid.sum()) / images,
        }

    def _add(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Compiles a part, for the weights as they are now, and runs it for the first time."""
        graphdef, variables = split_for_evaluation(self._model)
        run = jax.jit(lambda variables, *x: function(merge(graphdef, variables), *x))
        self.parts[name] = lambda: run(variables, *arguments)
        self.outputs[name] = jax.block_until_ready(self.parts[name]())
        return self.outputs[name]


def _masks(
    model: Detector, features: Float[Array, "b_n bins bins c"], classes: Int[Array, "b n"]
) -> Float[Array, "b n side side"]:
    channel = classes.reshape(-1, 1, 1, 1)
    logits = jnp.take_along_axis(model.mask_heads[0](features), channel, axis=-1)[..., 0]
    return jax.nn.sigmoid(logits).reshape(*classes.shape, *logits.shape[1:])


def _paste(
    masks: Float[Array, "b n side side"], boxes: Float[Array, "b n 4"], shape: tuple[int, int]
) -> Array:
    return jax.lax.map(lambda x: paste(x[0], x[1], shape), (masks, boxes))
