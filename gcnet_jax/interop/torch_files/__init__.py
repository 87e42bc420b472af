"""PyTorch's `.pth` files, read and written without PyTorch.

`errors` says how such a file can be at fault; `pickles` follows a pickle without building what it
names; `tensors` says what PyTorch's names stand for and makes arrays; `archive` and `legacy` are
the two formats; `reading` joins these; `writing` is the way back; `checkpoint` knows what OpenMMLab
puts into a file.
"""

from gcnet_jax.interop.torch_files.checkpoint import (
    TorchCheckpoint,
    read_torch_checkpoint,
    write_torch_checkpoint,
)
from gcnet_jax.interop.torch_files.pickles import Recorded
from gcnet_jax.interop.torch_files.reading import TorchFile, open_torch_file

__all__ = [
    "Recorded",
    "TorchCheckpoint",
    "TorchFile",
    "open_torch_file",
    "read_torch_checkpoint",
    "write_torch_checkpoint",
]
