"""mmsegmentation's network as an ONNX model, as PyTorch's own exporter writes it."""

import warnings
from typing import Any

from etils import epath
from jaxtyping import UInt8

from benchmarks.peer import import_peer


def write_peer_onnx(path: epath.Path, network: Any, images: UInt8[Any, "b h w 3"]) -> None:
    """Writes a network of mmsegmentation from 8-bit pixels to the class of each.

    `torch.onnx.export` traces the network, folds its normalisation into kernels and its constants
    together, as it does for MMDeploy, OpenMMLab's exporter. Pixels are normalised, and logits
    resized, in the model.

    Args:
        path: of the file.
        network: in evaluation mode, on the CPU.
        images: RGB of PyTorch, whose shape all images of the model have.
    """
    torch = import_peer("torch")
    resize = import_peer("mmseg.models.utils").resize
    processor = network.data_preprocessor

    class Classes(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> Any:
            planes = images.permute(0, 3, 1, 2).float()
            logits = self.network((planes - processor.mean) / processor.std, mode="tensor")
            return resize(
                logits, size=images.shape[1:3], mode="bilinear", align_corners=network.align_corners
            ).argmax(dim=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is constant in a trace, and of the older exporter
        torch.onnx.export(
            Classes().eval(),
            (images,),
            str(path),
            input_names=["images"],
            output_names=["classes"],
            opset_version=17,
            dynamo=False,
        )
