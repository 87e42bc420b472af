"""One row of the ablation on context_shapes; docs/ablation.md has the table.

    gcnet prepare_dataset context_shapes
    gcnet ablate --config=configs/ablation/context_shapes.py --output_dir=runs/ablation

A single row, by its name in `gcnet_jax.analysis.VARIANTS`:

    gcnet train --config=configs/ablation/context_shapes.py:nl --workdir=runs/shapes_nl
"""

from configs.common import context_shapes
from gcnet_jax.analysis import select_variant


def get_config(variant=""):
    config = context_shapes.get_config()
    # Bottlenecks, which have all positions for context blocks. Their receptive field is smaller.
    config.model.backbone.depth = 50
    # As in the table of docs/ablation.md, which is older than the schedule of configs/common/.
    config.optimizer.learning_rate = 0.5
    config.training.total_steps = 500
    config.model.backbone.context.stages = (0,)
    config.model.backbone.context.global_context.ratio = 1 / 4
    config.model.decode_head.context.global_context.ratio = 1 / 2
    config.model.decode_head.context.squeeze_excite.ratio = 1 / 2
    config.training.evaluate_every = 250
    config.training.checkpoint_every = 250
    return select_variant(config, variant) if variant else config
