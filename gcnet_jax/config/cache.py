"""Where this library keeps what it can make or fetch again."""

import os
import sys
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder `name` of this library below the user's cache folder (`XDG_CACHE_HOME`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gcnet_jax" / name


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk between processes, as the commands do.

    They lie in the user's cache folder, unless `JAX_COMPILATION_CACHE_DIR` or JAX's own settings
    say where. All of them are kept: a run takes many small ones, which JAX would not keep.
    """
    folder = str(cache_folder("compiled"))
    if "jax" not in sys.modules:  # it reads these once it is imported
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        return
    import jax

    chosen = "JAX_COMPILATION_CACHE_DIR" in os.environ  # "" for none
    if not chosen and jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", folder)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
