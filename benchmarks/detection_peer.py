"""torchvision's Mask R-CNN by part, with the weights of ours, to measure beside it."""

import importlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from benchmarks.peer import peer_device
from gcnet_jax.errors import InputError
from gcnet_jax.interop import StateDict
from gcnet_jax.tasks.detection.settings import DetectorSettings

_NAMES = (
    ("backbone.", "backbone.body."),
    ("neck.lateral_convs.{}.conv.", "backbone.fpn.inner_blocks.{}.0."),
    ("neck.fpn_convs.{}.conv.", "backbone.fpn.layer_blocks.{}.0."),
    ("rpn_head.rpn_conv.", "rpn.head.conv.0.0."),
    ("rpn_head.rpn_cls.", "rpn.head.cls_logits."),
    ("rpn_head.rpn_reg.", "rpn.head.bbox_pred."),
    ("roi_head.bbox_head.shared_fcs.0.", "roi_heads.box_head.fc6."),
    ("roi_head.bbox_head.shared_fcs.1.", "roi_heads.box_head.fc7."),
    ("roi_head.bbox_head.fc_cls.", "roi_heads.box_predictor.cls_score."),
    ("roi_head.bbox_head.fc_reg.", "roi_heads.box_predictor.bbox_pred."),
    ("roi_head.mask_head.convs.{}.conv.", "roi_heads.mask_head.{}.0."),
    ("roi_head.mask_head.upsample.", "roi_heads.mask_predictor.conv5_mask."),
    ("roi_head.mask_head.conv_logits.", "roi_heads.mask_predictor.mask_fcn_logits."),
)
"""What mmdetection and torchvision call the same; `{}` stands for a level or a layer."""


_LARGEST_DEVIATION = 1e-3
"""The deviation of features and heads, relative to the largest, that rounding can explain."""


class TorchvisionParts:
    """torchvision's `maskrcnn_resnet50_fpn` with given weights, its parts run once in turn.

    It does as much work as ours: it has the same weights, thresholds and counts, and its RoIAlign
    takes as many samples as a bin covers positions, where torchvision alone takes two by two. What
    stays its own are anchors of whole pixels and a RoIAlign without the shift by half a pixel:
    boxes differ a little, and so do proposals and detections.

    Args:
        weights: by mmdetection's names.
        settings: thresholds and counts.
        images: normalised, zero around what is smaller than the array.
        sizes: of the images.

    Attributes:
        parts: as of `DetectorParts`, by the same names.
        outputs: of each part.
        whole: runs all but the pasting, as torchvision does.

    Raises:
        InputError: the weights are of another network, or PyTorch lacks the device.
    """

    def __init__(
        self,
        weights: StateDict,
        settings: DetectorSettings,
        images: Float[np.ndarray, "b h w 3"],
        sizes: Int[np.ndarray, "b 2"],
    ):
        self._torch = importlib.import_module("torch")
        self._device = peer_device("torchvision")
        self.model = self._build(weights, settings)
        self.parts: dict[str, Callable[[], Any]] = {}
        self.outputs: dict[str, Any] = {}
        list_of_images = importlib.import_module(
            "torchvision.models.detection.image_list"
        ).ImageList
        tensor = self._torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(self._device)
        shapes = [(int(height), int(width)) for height, width in sizes]
        self._chain(list_of_images(tensor, shapes))

    def box_head(self, features: Float[np.ndarray, "r bins bins c"]) -> Any:
        """What the box head says of given features."""
        return self._run(self._boxes, self._from(features))

    def mask_head(self, features: Float[np.ndarray, "r bins bins c"]) -> Any:
        """The logits of the masks of given features, the background's first."""
        return self._run(self._masks, self._from(features))

    def facts(self) -> dict[str, Any]:
        """What was worked through in an image on the average."""
        proposals, found = self.outputs["proposals"], self.detections
        return {
            "proposals": sum(len(x) for x in proposals) / len(proposals),
            "detections": sum(len(x["boxes"]) for x in found) / len(found),
        }

    def _build(self, weights: StateDict, settings: DetectorSettings) -> Any:
        detection = importlib.import_module("torchvision.models.detection")
        model = detection.maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=len(weights["roi_head.bbox_head.fc_cls.bias"]),
            rpn_pre_nms_top_n_test=settings.proposals.per_level,
            rpn_post_nms_top_n_test=settings.proposals.count,
            rpn_nms_thresh=settings.proposals.threshold,
            rpn_score_thresh=0.0,
            box_score_thresh=settings.detections.score_threshold,
            box_nms_thresh=settings.detections.threshold,
            box_detections_per_img=settings.detections.count,
        )
        load_weights(model, weights)
        for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
            pool.sampling_ratio = 0
        return model.eval().to(self._device)

    def _chain(self, images: Any) -> None:
        model, shapes = self.model, images.image_sizes
        rpn, heads = model.rpn, model.roi_heads
        utilities = importlib.import_module("torchvision.models.detection.rpn")
        pasting = importlib.import_module("torchvision.models.detection.roi_heads")

        def propose(features: list[Any], logits: list[Any], deltas: list[Any]) -> Any:
            anchors = rpn.anchor_generator(images, features)
            counts = [x[0].numel() for x in logits]
            logits, deltas = utilities.concat_box_prediction_layers(logits, deltas)
            boxes = rpn.box_coder.decode(deltas, anchors).view(len(anchors), -1, 4)
            return rpn.filter_proposals(boxes, logits, shapes, counts)[0]

        def mask(features: Any) -> Any:
            return pasting.maskrcnn_inference(self._masks(features), labels)

        def paste(masks: Any) -> Any:
            return [
                pasting.paste_masks_in_image(x, y, shape) > 0.5
                for x, y, shape in zip(masks, boxes, shapes, strict=True)
            ]

        features = self._add("backbone and pyramid", model.backbone, images.tensors)
        maps = list(features.values())
        logits, deltas = self._add("proposal head", rpn.head, maps)
        proposals = self._add("proposals", propose, maps, logits, deltas)
        regions = self._add("RoIAlign of boxes", heads.box_roi_pool, features, proposals, shapes)
        logits, deltas = self._add("box head", self._boxes, regions)
        boxes, _, labels = self._add(
            "detections", heads.postprocess_detections, logits, deltas, proposals, shapes
        )
        regions = self._add("RoIAlign of masks", heads.mask_roi_pool, features, boxes, shapes)
        masks = self._add("mask head", mask, regions)
        self._add("pasting", paste, masks)

        def whole() -> Any:
            features = model.backbone(images.tensors)
            proposals, _ = rpn(images, features)
            return heads(features, proposals, shapes)[0]

        self.whole = lambda: self._run(whole)
        self.detections = self.whole()

    def _boxes(self, features: Any) -> Any:
        heads = self.model.roi_heads
        return heads.box_predictor(heads.box_head(features))

    def _masks(self, features: Any) -> Any:
        heads = self.model.roi_heads
        return heads.mask_predictor(heads.mask_head(features))

    def _from(self, features: Float[np.ndarray, "r bins bins c"]) -> Any:
        return self._torch.from_numpy(features.transpose(0, 3, 1, 2).copy()).to(self._device)

    def _add(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        self.parts[name] = lambda: self._run(function, *arguments)
        self.outputs[name] = self.parts[name]()
        return self.outputs[name]

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with self._torch.inference_mode():
            result = function(*arguments)
        if self._device == "cuda":
            self._torch.cuda.synchronize()
        return result


def load_weights(model: Any, weights: StateDict) -> None:
    """Gives a Mask R-CNN of torchvision's the weights of ours, by mmdetection's names.

    Raises:
        InputError: they are of another network.
    """
    from_numpy = importlib.import_module("torch").from_numpy
    ours = {name: from_numpy(np.array(x)) for name, x in for_torchvision(weights).items()}
    try:
        mismatch = model.load_state_dict(ours, strict=False)
    except RuntimeError as error:
        raise _other_network(str(error).splitlines()[-1].strip()) from None
    lacking = [x for x in mismatch.missing_keys if not x.endswith("num_batches_tracked")]
    unknown = [x for x in mismatch.unexpected_keys if not x.endswith("num_batches_tracked")]
    if wrong := [*lacking, *unknown]:
        raise _other_network(f"{wrong[0]} is in one of both")


def check_agreement(pairs: Mapping[str, tuple[Any, Any]]) -> None:
    """Raises InputError unless what both compute is the same.

    Args:
        pairs: by name, an array of ours and torchvision's tensor of the same shape.
    """
    for name, (mine, other) in pairs.items():
        mine, other = np.asarray(mine), other.detach().cpu().numpy()
        deviation = np.abs(mine - other).max() / np.abs(other).max()
        if not deviation <= _LARGEST_DEVIATION:
            raise InputError(
                f"{name} deviates from torchvision's by {deviation:.1e} of the largest; expected "
                f"{_LARGEST_DEVIATION:.0e} at most"
            )


def for_torchvision(weights: StateDict) -> Mapping[str, np.ndarray]:
    """The weights of a Mask R-CNN by torchvision's names; its background comes first."""
    named = OrderedDict()
    for name, array in weights.items():
        array = np.asarray(array)
        if ".fc_cls." in name:
            array = np.concatenate([array[-1:], array[:-1]])
        elif ".fc_reg." in name:
            array = np.concatenate([np.zeros_like(array[:4]), array])
        elif ".conv_logits." in name:
            array = np.concatenate([np.zeros_like(array[:1]), array])
        named[_renamed(name)] = array
    return named


def _renamed(name: str) -> str:
    for theirs, torchvisions in _NAMES:
        before, has_number, _ = theirs.partition("{}")
        if not name.startswith(before):
            continue
        if not has_number:
            return torchvisions + name.removeprefix(before)
        number = name.removeprefix(before).partition(".")[0]
        return torchvisions.format(number) + name.removeprefix(theirs.format(number))
    raise _other_network(f"{name} is unknown to it")


def _other_network(why: str) -> InputError:
    return InputError(
        f"--peer=torchvision: its Mask R-CNN is ResNet-50's without context blocks; {why}"
    )
