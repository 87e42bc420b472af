"""What a config holds, what it may hold, and configs from files and as plain JSON."""

from gcnet_jax.config.cache import cache_folder, enable_compilation_cache
from gcnet_jax.config.checking import check_config, check_section, named_code
from gcnet_jax.config.epochs import check_same_epochs, in_steps, schedule_in_words
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
    published_runs,
)
from gcnet_jax.config.loading import (
    SchemaOf,
    as_config,
    brief_reason,
    is_checkpoint,
    load_config,
    read_config,
    split_argument,
)
from gcnet_jax.config.networks import CONTEXT_BLOCKS
from gcnet_jax.config.plain import (
    architecture,
    differences,
    from_plain,
    to_plain,
    versions,
    with_defaults,
)
from gcnet_jax.config.schema import Leaf, Schema, Section, leaves
from gcnet_jax.config.shared import task_schema

__all__ = [
    "CONTEXT_BLOCKS",
    "MAX_IMAGE_PIXELS",
    "MOST_IMAGE_PIXELS",
    "ORIENTATIONS",
    "PIXELS",
    "Leaf",
    "Orientation",
    "Pixels",
    "Schema",
    "SchemaOf",
    "Section",
    "architecture",
    "as_config",
    "brief_reason",
    "cache_folder",
    "check_config",
    "check_same_epochs",
    "check_section",
    "config_of_published",
    "configs_named",
    "differences",
    "enable_compilation_cache",
    "find_config",
    "from_plain",
    "in_steps",
    "is_checkpoint",
    "leaves",
    "library_configs",
    "library_folder",
    "load_config",
    "named_code",
    "published_runs",
    "read_config",
    "schedule_in_words",
    "split_argument",
    "task_schema",
    "to_plain",
    "versions",
    "with_defaults",
]
