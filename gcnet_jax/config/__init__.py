"""What a config holds, what it may hold, and configs from files and as plain JSON."""

from gcnet_jax.config.cache import cache_folder, enable_compilation_cache
from gcnet_jax.config.checking import check_config, check_model_config
from gcnet_jax.config.image_files import (
    MAX_IMAGE_PIXELS,
    MOST_IMAGE_PIXELS,
    ORIENTATIONS,
    PIXELS,
    Orientation,
    Pixels,
)
from gcnet_jax.config.library import (
    config_of_published,
    configs_named,
    find_config,
    library_configs,
    library_folder,
)
from gcnet_jax.config.loading import (
    as_config,
    brief_reason,
    config_from_argument,
    is_checkpoint,
    load_config,
    published_run,
    read_config,
    split_argument,
)
from gcnet_jax.config.plain import architecture, differences, from_plain, to_plain, versions
from gcnet_jax.config.schema import CONTEXT_BLOCKS, default_config, leaves

__all__ = [
    "CONTEXT_BLOCKS",
    "MAX_IMAGE_PIXELS",
    "MOST_IMAGE_PIXELS",
    "ORIENTATIONS",
    "PIXELS",
    "Orientation",
    "Pixels",
    "architecture",
    "as_config",
    "brief_reason",
    "cache_folder",
    "check_config",
    "check_model_config",
    "config_from_argument",
    "config_of_published",
    "configs_named",
    "default_config",
    "differences",
    "enable_compilation_cache",
    "find_config",
    "from_plain",
    "is_checkpoint",
    "leaves",
    "library_configs",
    "library_folder",
    "load_config",
    "published_run",
    "read_config",
    "split_argument",
    "to_plain",
    "versions",
]
