"""torchvision's training of Mask R-CNN, whole and by part, with the weights of ours."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.detection_peer import load_weights
from benchmarks.detection_training_parts import (
    ANCHORS,
    BACKBONE,
    BOX_FEATURES,
    BOX_HEAD,
    HEAD,
    MASK_FEATURES,
    MASK_HEAD,
    OPTIMIZER,
    PROPOSALS,
    REGIONS,
    DetectorTrainingParts,
)
from benchmarks.peer import peer_device
from gcnet_jax.interop import StateDict
from gcnet_jax.ops import IMAGE_MEAN, IMAGE_STD
from gcnet_jax.tasks.detection.proposals import AnchorTargets
from gcnet_jax.tasks.detection.region_sampling import Regions
from gcnet_jax.tasks.detection.settings import DetectorSettings

_STRIDES = (4, 8, 16, 32, 64)
LOSSES = ("rpn_class_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss")
"""The losses by our names, in the order of torchvision's."""


class TorchvisionTraining:
    """torchvision's Mask R-CNN with ResNet-50 in training, with given weights.

    It does as much work as ours: the same counts, thresholds and frozen stages, a RoIAlign that
    takes as many samples as a bin covers positions, normalisation by running statistics. What stays
    its own are anchors of whole pixels, a RoIAlign without the shift by half a pixel, masks that
    are compared as shares in place of yes and no, and what is drawn at random.

    Args:
        weights: by mmdetection's names.
        settings: counts and thresholds.
        batch: 8-bit images that fill their arrays, and objects, as of our step.
        frozen_stages: as of our backbone.
        frozen_norms: whether scales and shifts of the backbone's normalisation get no gradient, as
            torchvision has it; ours get one.
        optimizer: learning rate, momentum and weight decay as `torch.optim.SGD` names them.

    Attributes:
        parts: as of `DetectorTrainingParts`, by the same names.
        outputs: of each part.

    Raises:
        InputError: the weights are of another network, or PyTorch lacks the device.
    """

    def __init__(
        self,
        weights: StateDict,
        settings: DetectorSettings,
        batch: Mapping[str, np.ndarray],
        *,
        frozen_stages: int,
        frozen_norms: bool,
        optimizer: Mapping[str, float],
    ):
        self._torch = importlib.import_module("torch")
        self._device = peer_device("torchvision")
        self._functions = importlib.import_module("torchvision.models.detection.roi_heads")
        trainable = 5 if frozen_stages < 0 else 4 - frozen_stages
        self.model = self._build(weights, settings, trainable, frozen_norms)
        self._set_batch(batch)
        self._trained = [x for x in self.model.parameters() if x.requires_grad]
        self._optimizer = self._torch.optim.SGD(self._trained, **optimizer)
        self._settings_of_optimizer = optimizer
        self.parts: dict[str, Callable[[], Any]] = {}
        self.outputs: dict[str, Any] = {}
        self._chain()

    def step(self) -> dict[str, Any]:
        """Takes a training step, and returns its losses by torchvision's names."""
        features = self.model.backbone(self._normalized())
        proposals, losses = self.model.rpn(self._images, features, self._targets)
        _, of_heads = self.model.roi_heads(features, proposals, self._sizes, self._targets)
        losses |= of_heads
        self._optimizer.zero_grad()
        self._torch.stack(list(losses.values())).sum().backward()
        self._optimizer.step()
        self._wait()
        return losses

    def losses_of(self, ours: DetectorTrainingParts) -> dict[str, float]:
        """Torchvision's losses, by our names, of the anchors and regions that ours were of."""
        with self._torch.no_grad():
            losses = (
                *self._loss_of_anchors(ours.outputs[ANCHORS][1]),
                *self._loss_of_boxes(ours.outputs[BOX_FEATURES][0], ours.outputs[REGIONS]),
                self._loss_of_masks(ours.outputs[MASK_FEATURES][0], ours.positive),
            )
        return {name: float(x) for name, x in zip(LOSSES, losses, strict=True)}

    def facts(self) -> dict[str, float]:
        """What was worked through in an image on the average."""
        _, _, labels, _ = self.outputs[REGIONS]
        images = len(labels)
        anchors, _ = self._anchor_targets()
        positive, negative = (
            sum(int(x.sum()) for x in kind) for kind in self.model.rpn.fg_bg_sampler(anchors)
        )
        return {
            "proposals": sum(map(len, self.outputs[PROPOSALS])) / images,
            "sampled anchors": (positive + negative) / images,
            "positive anchors": positive / images,
            "sampled regions": sum(map(len, labels)) / images,
            "positive regions": sum(int((x > 0).sum()) for x in labels) / images,
        }

    def box_head(self, features: Any) -> Any:
        """What the box head says of given features of regions."""
        return self._boxes(self._planes(features))

    def _build(
        self, weights: StateDict, settings: DetectorSettings, trainable: int, frozen_norms: bool
    ) -> Any:
        detection = importlib.import_module("torchvision.models.detection")
        utilities = importlib.import_module("torchvision.models.detection.backbone_utils")
        generator = importlib.import_module("torchvision.models.detection.anchor_utils")
        frozen = importlib.import_module("torchvision.ops").FrozenBatchNorm2d
        norm = frozen if frozen_norms else self._torch.nn.BatchNorm2d
        backbone = utilities.resnet_fpn_backbone(
            backbone_name="resnet50", weights=None, norm_layer=norm, trainable_layers=trainable
        )
        sides = [round(settings.anchor_scale * stride) for stride in _STRIDES]
        anchors = generator.AnchorGenerator(
            tuple((side,) for side in sides), ((0.5, 1.0, 2.0),) * len(sides)
        )
        proposals, rpn = settings.training_proposals, settings.rpn_training
        of_heads, sampling = settings.stages[0].assignment, settings.sampling
        model = detection.MaskRCNN(
            backbone,
            num_classes=len(weights["roi_head.bbox_head.fc_cls.bias"]),
            rpn_anchor_generator=anchors,
            rpn_pre_nms_top_n_train=proposals.per_level,
            rpn_post_nms_top_n_train=proposals.count,
            rpn_nms_thresh=proposals.threshold,
            rpn_fg_iou_thresh=rpn.assignment.positive,
            rpn_bg_iou_thresh=rpn.assignment.negative,
            rpn_batch_size_per_image=rpn.sampling.count,
            rpn_positive_fraction=rpn.sampling.positive_fraction,
            box_fg_iou_thresh=of_heads.positive,
            box_bg_iou_thresh=of_heads.negative,
            box_batch_size_per_image=sampling.count,
            box_positive_fraction=sampling.positive_fraction,
        )
        load_weights(model, weights)
        for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
            pool.sampling_ratio = 0
        model.train()
        for module in model.modules():
            if isinstance(module, self._torch.nn.BatchNorm2d):
                module.eval()
        return model.to(self._device)

    def _set_batch(self, batch: Mapping[str, np.ndarray]) -> None:
        from_numpy = self._torch.from_numpy
        planes = np.ascontiguousarray(batch["image"].transpose(0, 3, 1, 2))
        self._pixels = from_numpy(planes).to(self._device)
        self._mean, self._std = (
            self._torch.tensor(x, dtype=self._torch.float32, device=self._device).view(1, 3, 1, 1)
            for x in (IMAGE_MEAN, IMAGE_STD)
        )
        height, width = batch["image"].shape[1:3]
        self._sizes = [(height, width)] * len(planes)
        list_of_images = importlib.import_module("torchvision.models.detection.image_list")
        self._images = list_of_images.ImageList(self._normalized(), self._sizes)
        self._targets = []
        for boxes, classes, valid, masks in zip(
            *(batch[key] for key in ("boxes", "classes", "valid", "masks")), strict=True
        ):
            target = {
                "boxes": from_numpy(boxes[valid]),
                "labels": from_numpy(classes[valid].astype(np.int64) + 1),
                "masks": from_numpy(np.unpackbits(masks[valid], axis=-1)),
            }
            self._targets.append({key: x.to(self._device) for key, x in target.items()})

    def _normalized(self) -> Any:
        return (self._pixels.float() - self._mean) / self._std

    def _chain(self) -> None:
        model, sizes = self.model, self._sizes
        rpn, heads = model.rpn, model.roi_heads
        names = ["0", "1", "2", "3", "pool"]

        def propose(logits: Any, deltas: Any) -> Any:
            counts = [x[0].numel() for x in logits]
            logits, deltas = self._concatenated(logits, deltas)
            boxes = rpn.box_coder.decode(deltas, self._anchors()).view(len(sizes), -1, 4)
            return rpn.filter_proposals(boxes, logits, sizes, counts)[0]

        def box_losses(features: Any) -> Any:
            return self._functions.fastrcnn_loss(*self._boxes(features), labels, targets)

        def mask_loss(features: Any) -> Any:
            return self._mask_loss(features, positive, own)

        def pooled(pool: Any, boxes: Any) -> Callable[..., Any]:
            return lambda *maps: [pool(dict(zip(names, maps, strict=True)), boxes, sizes)]

        maps = self._add(
            BACKBONE,
            [model.backbone],
            lambda: list(model.backbone(self._normalized()).values()),
            [],
        )
        logits, deltas = self._add(HEAD, [rpn.head], lambda *x: rpn.head(list(x)), maps)
        self._add(ANCHORS, [], lambda *x: self._anchor_losses(x[:5], x[5:]), [*logits, *deltas])
        proposals = self._add_plain(PROPOSALS, propose, logits, deltas)
        regions = self._add_plain(REGIONS, heads.select_training_samples, proposals, self._targets)
        boxes, objects, labels, targets = regions
        features = self._add(BOX_FEATURES, [], pooled(heads.box_roi_pool, boxes), maps)
        self._add(BOX_HEAD, [heads.box_head, heads.box_predictor], box_losses, features)
        where = [self._torch.where(x > 0)[0] for x in labels]
        positive = [x[rows] for x, rows in zip(boxes, where, strict=True)]
        own = [x[rows] for x, rows in zip(objects, where, strict=True)]
        features = self._add(MASK_FEATURES, [], pooled(heads.mask_roi_pool, positive), maps)
        self._add(MASK_HEAD, [heads.mask_head, heads.mask_predictor], mask_loss, features)
        self._add_optimizer()

    def _add(
        self, name: str, modules: Sequence[Any], function: Callable[..., Any], given: Sequence[Any]
    ) -> Any:
        """Runs a part for the first time, forward and backward as in `DetectorTrainingParts`."""
        given = [x.detach().requires_grad_() for x in given]
        own = [x for module in modules for x in module.parameters() if x.requires_grad]

        def run() -> Any:
            outputs = function(*given)
            leaves = self._torch.utils._pytree.tree_leaves(outputs)
            ones = [self._torch.ones_like(x) for x in leaves]
            self._torch.autograd.grad(leaves, [*own, *given], ones, allow_unused=True)
            self._wait()
            return outputs

        self.parts[name] = run
        self.outputs[name] = self._torch.utils._pytree.tree_map(lambda x: x.detach(), run())
        return self.outputs[name]

    def _add_plain(self, name: str, function: Callable[..., Any], *given: Any) -> Any:
        def run() -> Any:
            with self._torch.no_grad():
                outputs = function(*given)
            self._wait()
            return outputs

        self.parts[name] = run
        self.outputs[name] = run()
        return self.outputs[name]

    def _add_optimizer(self) -> None:
        copies = [x.detach().clone() for x in self._trained]
        for x in copies:
            x.grad = self._torch.ones_like(x)
        optimizer = self._torch.optim.SGD(copies, **self._settings_of_optimizer)

        def run() -> None:
            optimizer.step()
            self._wait()

        self.parts[OPTIMIZER] = run
        run()

    def _anchors(self) -> Any:
        maps = self.outputs[BACKBONE]
        return self.model.rpn.anchor_generator(self._images, maps)

    def _anchor_targets(self) -> Any:
        rpn, anchors = self.model.rpn, self._anchors()
        labels, boxes = rpn.assign_targets_to_anchors(anchors, self._targets)
        return labels, rpn.box_coder.encode(boxes, anchors)

    def _concatenated(self, logits: Any, deltas: Any) -> Any:
        utilities = importlib.import_module("torchvision.models.detection.rpn")
        return utilities.concat_box_prediction_layers(list(logits), list(deltas))

    def _anchor_losses(self, logits: Any, deltas: Any) -> Any:
        logits, deltas = self._concatenated(logits, deltas)
        return self.model.rpn.compute_loss(logits, deltas, *self._anchor_targets())

    def _boxes(self, features: Any) -> Any:
        heads = self.model.roi_heads
        return heads.box_predictor(heads.box_head(features))

    def _masks(self, features: Any) -> Any:
        heads = self.model.roi_heads
        return heads.mask_predictor(heads.mask_head(features))

    def _mask_loss(self, features: Any, boxes: Any, objects: Any) -> Any:
        masks, labels = ([x[key] for x in self._targets] for key in ("masks", "labels"))
        return self._functions.maskrcnn_loss(self._masks(features), boxes, masks, labels, objects)

    def _loss_of_anchors(self, targets: AnchorTargets) -> Any:
        rpn = self.model.rpn
        sampled, positive = self._tensor(targets.sampled), self._tensor(targets.positive)
        kinds = list(positive), list(sampled & ~positive)
        own, rpn.fg_bg_sampler = rpn.fg_bg_sampler, lambda _: kinds
        try:
            outputs = self._concatenated(*self.outputs[HEAD])
            labels, deltas = list(positive.float()), list(self._tensor(targets.deltas))
            return rpn.compute_loss(*outputs, labels, deltas)
        finally:
            rpn.fg_bg_sampler = own

    def _loss_of_boxes(self, features: Any, regions: Regions) -> Any:
        boxes, objects = list(self._tensor(regions.boxes)), self._tensor(regions.objects).long()
        positive = self._tensor(regions.positive)
        labels = [
            target["labels"][rows] * mine
            for target, rows, mine in zip(self._targets, objects, positive, strict=True)
        ]
        of_objects = [x["boxes"][rows] for x, rows in zip(self._targets, objects, strict=True)]
        targets = self.model.roi_heads.box_coder.encode(of_objects, boxes)
        outputs = self.box_head(features)
        return self._functions.fastrcnn_loss(*outputs, labels, targets)

    def _loss_of_masks(self, features: Any, regions: Regions) -> Any:
        positive = self._tensor(regions.positive)
        boxes, objects = (
            [x[rows] for x, rows in zip(self._tensor(values), positive, strict=True)]
            for values in (regions.boxes, regions.objects)
        )
        planes = self._planes(features)[positive.flatten()]
        return self._mask_loss(planes, boxes, [x.long() for x in objects])

    def _planes(self, features: Any) -> Any:
        return self._tensor(features).permute(0, 3, 1, 2).contiguous()

    def _tensor(self, array: Any) -> Any:
        return self._torch.from_numpy(np.array(array)).to(self._device)

    def _wait(self) -> None:
        if self._device == "cuda":
            self._torch.cuda.synchronize()


def why_not_torchvisions(backbone: Any, dtype: str) -> str | None:
    """Says why torchvision cannot train a config's network as ours is, if so."""
    if not backbone.norm_eval:
        return "model.backbone.norm_eval is False; expected True: torchvision's norms are frozen"
    if dtype != "float32":
        return f"model.dtype is {dtype}; expected float32"
    return None
