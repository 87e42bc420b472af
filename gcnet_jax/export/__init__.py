"""Networks as one file that runs where this library is not installed."""

from gcnet_jax.export.equality import Agreement, agreement_table
from gcnet_jax.export.exported_file import is_exported
from gcnet_jax.export.network_files import load_exported
from gcnet_jax.export.onnx_models import check_onnx_installed
from gcnet_jax.export.writing import (
    check_new,
    export_onnx,
    export_stablehlo,
    exports_of,
    report_beside,
)

__all__ = [
    "Agreement",
    "agreement_table",
    "check_new",
    "check_onnx_installed",
    "export_onnx",
    "export_stablehlo",
    "exports_of",
    "is_exported",
    "load_exported",
    "report_beside",
]
