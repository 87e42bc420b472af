"""mmsegmentation's training and test steps, to measure beside ours: the same pixels and weights."""

import abc
import contextlib
import copy
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Integer, UInt8
from ml_collections import ConfigDict

from benchmarks.comparison import LEAST_AGREEMENT
from benchmarks.peer import (
    build_peer_model,
    import_peer,
    peer_autocast,
    peer_device,
    why_no_peer,
)
from gcnet_jax.cli.timing import steps_in_a_row
from gcnet_jax.errors import InputError
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.tasks.segmentation.build_model import build_model

_LARGEST_DEVIATION = 1e-3
"""Deviation of logits, relative to the largest: what rounding can explain in a hundred layers."""
_LARGEST_LOSS_DEVIATION = 0.05
"""Relative deviation of the first step's loss: dropout falls differently."""

Images = UInt8[np.ndarray, "b h w 3"]


class PeerSteps(abc.ABC):
    """mmsegmentation's network with the weights of ours, on the device that JAX has.

    On GPUs cuDNN may try its algorithms, and a config of bfloat16 runs under autocast. Arrays are
    laid out with channels last.

    Args:
        config: of the run; its network is built anew, with the config's seed.
        num_classes: of the network.
        images: RGB.
        compiled: whether torch.compile takes the network.

    Raises:
        InputError: mmsegmentation has no such network, or computes something else with it; or JAX
            has several devices, or one that PyTorch lacks.
    """

    def __init__(self, config: ConfigDict, num_classes: int, images: Images, *, compiled: bool):
        if reason := why_no_peer(config):
            raise InputError(f"--peer=openmmlab: {reason}")
        if jax.device_count() > 1:
            raise InputError(
                f"--peer=openmmlab compares on one device; JAX has {jax.device_count()} "
                "(CUDA_VISIBLE_DEVICES=0 leaves one of several GPUs)"
            )
        self._torch, self._device = import_peer("torch"), peer_device()
        self._allocated_before = 0  # by others in this process
        if self._device == "cuda":
            self._allocated_before = self._torch.cuda.memory_allocated()
        self._model = build_model(config.model, num_classes=num_classes, seed=config.seed)
        self._config, self._num_classes = config, num_classes
        self.network = build_peer_model(self._model, config)
        # BGR, as OpenMMLab reads images.
        planes = np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2))
        self._images, self._planes = images, self._torch.from_numpy(planes).to(self._device)
        if compiled:  # the same network, which was compared without
            self.network.forward = self._torch.compile(self.network.forward)
        else:
            self._check_logits()
        self._first_seconds, self._peak = 0.0, None

    def seconds(self) -> float:
        """Takes `steps_in_a_row`, and returns how long each took."""
        return self._seconds_each(steps_in_a_row())

    def _seconds_each(self, steps: int) -> float:
        start = time.perf_counter()
        with peer_autocast(self._config):
            for _ in range(steps):
                self._step()
        if self._device == "cuda":
            self._torch.cuda.synchronize()
        return (time.perf_counter() - start) / steps

    def description(self, step_seconds: float) -> dict[str, Any]:
        """What the table says beside the speed.

        Args:
            step_seconds: of a step that was not the first.

        Returns:
            `compile_seconds`, what the first step took longer; and the peak of the memory, which
            PyTorch knows on GPUs alone.
        """
        compile_seconds = max(self._first_seconds - step_seconds, 0.0)
        return {"compile_seconds": compile_seconds, "memory": {"peak": self._peak}}

    def _take_first_step(self) -> None:
        self._first_seconds = self._seconds_each(1)
        if self._device == "cuda":  # without what cuDNN has tried in the first step
            self._torch.cuda.empty_cache()
            self._torch.cuda.reset_peak_memory_stats()
            self._seconds_each(1)
            self._peak = self._torch.cuda.max_memory_allocated() - self._allocated_before

    @abc.abstractmethod
    def _step(self) -> None:
        """Takes one step."""

    def _check_logits(self) -> None:
        """Raises InputError unless both networks say the same of the first image, in float32."""
        image = self._images[:1]
        with _full_precision(self._torch):
            with self._torch.inference_mode():
                planes = list(self._planes[:1])
                data = self.network.data_preprocessor({"inputs": planes}, training=False)
                theirs = self.network.eval()(data["inputs"], mode="tensor")
            theirs = theirs.float().cpu().numpy().transpose(0, 2, 3, 1)
            ours = self._decoded(image)
        deviation = np.abs(ours - theirs).max() / np.abs(theirs).max()
        if not deviation <= _LARGEST_DEVIATION:
            raise InputError(
                f"the logits of the two networks differ by {deviation:.1e} of the largest, "
                f"expected {_LARGEST_DEVIATION}: they do not compute the same"
            )

    def _decoded(self, images: Images) -> Float[np.ndarray, "b h w classes"]:
        """Our logits at the decode head's resolution, in float32."""
        section = copy.deepcopy(self._config.model)
        section.dtype = "float32"
        model = build_model(section, num_classes=self._num_classes, seed=self._config.seed)
        graphdef, variables = split_for_evaluation(model)

        @jax.jit
        def decode(variables, images):
            return merge(graphdef, variables).decode(normalize_images(images))

        return np.asarray(decode(variables, images))


class PeerTraining(PeerSteps):
    """mmengine's training step: forward, backward, SGD.

    Args:
        config: of the run.
        num_classes: of the network.
        batch: `image` and `label`.
        compiled: whether torch.compile takes the network.
    """

    def __init__(
        self,
        config: ConfigDict,
        num_classes: int,
        batch: Mapping[str, Integer[np.ndarray, "b ..."]],
        *,
        compiled: bool = False,
    ):
        super().__init__(config, num_classes, batch["image"], compiled=compiled)
        pixel_data = import_peer("mmengine.structures").PixelData
        sample = import_peer("mmseg.structures").SegDataSample
        self._samples = []
        for label in self._torch.from_numpy(batch["label"].astype(np.int64)).to(self._device):
            self._samples.append(sample(gt_sem_seg=pixel_data(data=label[None])))
        settings = config.optimizer
        optimizer = self._torch.optim.SGD(
            self.network.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self._wrapper = import_peer("mmengine.optim").OptimWrapper(optimizer)
        self.network.train()
        self.network.data_preprocessor.size = batch["label"].shape[1:]
        self._first_loss: Any = None
        self._take_first_step()

    def _step(self) -> None:
        data = {"inputs": list(self._planes), "data_samples": list(self._samples)}
        loss = self.network.train_step(data, self._wrapper)["loss"]
        if self._first_loss is None:
            self._first_loss = loss

    def check_loss(self, ours: float) -> None:
        """Raises InputError unless the loss of our first step is that of the peer's first."""
        theirs = float(self._first_loss.detach())
        if not abs(ours - theirs) <= _LARGEST_LOSS_DEVIATION * theirs:
            raise InputError(
                f"the first step's loss is {ours:.4f} here and {theirs:.4f} in mmsegmentation: "
                "they do not compute the same"
            )


class PeerInference(PeerSteps):
    """mmengine's test step: from 8-bit images to the class of each pixel.

    Args:
        config: of the run.
        num_classes: of the network.
        images: of one size.
        compiled: whether torch.compile takes the network.
    """

    def __init__(
        self, config: ConfigDict, num_classes: int, images: Images, *, compiled: bool = False
    ):
        super().__init__(config, num_classes, images, compiled=compiled)
        size = images.shape[1:3]
        meta = {"img_shape": size, "ori_shape": size, "pad_shape": size, "img_path": ""}
        sample = import_peer("mmseg.structures").SegDataSample
        self._samples = [sample(metainfo=meta) for _ in images]
        self._predictions: Any = None
        self._take_first_step()

    def check_classes(self, ours: Integer[np.ndarray, "b h w"]) -> None:
        """Raises InputError unless the pixels went to the classes that they went to here."""
        theirs = self._torch.cat(self._predictions).cpu().numpy()
        agreement = (ours == theirs).mean()
        expected = LEAST_AGREEMENT[self._config.model.dtype]
        if agreement < expected:
            raise InputError(
                f"{agreement:.2%} of the pixels go to the same class as in mmsegmentation, "
                f"expected {expected:.1%}: they do not compute the same"
            )

    def _step(self) -> None:
        # Copies, because what is predicted is entered into the samples.
        data = {"inputs": list(self._planes), "data_samples": copy.deepcopy(self._samples)}
        with self._torch.inference_mode():
            results = self.network.test_step(data)
        self._predictions = [result.pred_sem_seg.data for result in results]


@contextlib.contextmanager
def _full_precision(torch: Any) -> Iterator[None]:
    """Float32 as it is, where GPUs would round it for their matrix units."""
    convolutions = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with jax.default_matmul_precision("float32"):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
