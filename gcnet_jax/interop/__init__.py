"""Weights from OpenMMLab and torchvision, and back."""

from gcnet_jax.interop.foreign_format import ForeignFormat
from gcnet_jax.interop.published import (
    PublishedFile,
    fetch_published,
    is_fetched,
    published_files,
    published_name,
)
from gcnet_jax.interop.state_dicts import (
    Layers,
    Mismatch,
    StateDict,
    added_entries,
    check_weights,
    export_state_dict,
    import_state_dict,
)
from gcnet_jax.interop.torch_files import (
    Recorded,
    TorchCheckpoint,
    read_torch_checkpoint,
    write_torch_checkpoint,
)

__all__ = [
    "ForeignFormat",
    "Layers",
    "Mismatch",
    "PublishedFile",
    "Recorded",
    "StateDict",
    "TorchCheckpoint",
    "added_entries",
    "check_weights",
    "export_state_dict",
    "fetch_published",
    "import_state_dict",
    "is_fetched",
    "published_files",
    "published_name",
    "read_torch_checkpoint",
    "write_torch_checkpoint",
]
