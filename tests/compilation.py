"""How programs of tests are compiled. It is read before JAX starts, and imports nothing."""

# No optimization of loops, no fused kernels by way of MLIR, and one module for LLVM in place of
# many, compiled side by side: a third of the time, for speed that narrow models do not need.
QUICKLY = " ".join(
    [
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
    ]
)


def xla_flags(devices: int, *, optimizes: bool) -> str:
    """The flags of a process.

    Args:
        devices: how many there are, simulated ones.
        optimizes: whether programs are compiled as users have them, or in less time.
    """
    return f"--xla_force_host_platform_device_count={devices} {'' if optimizes else QUICKLY}"
