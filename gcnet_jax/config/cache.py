"""Where this library keeps what it can make or fetch again."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder `name` of this library below the user's cache folder (`XDG_CACHE_HOME`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gcnet_jax" / name
