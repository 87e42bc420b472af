"""One row of the ablation on CamVid with R50-D8 from scratch, for one GPU. Not tried yet.

    gcnet prepare_dataset camvid --source=CAMVID
    gcnet ablate --config=configs/ablation/camvid.py --output_dir=runs/ablation_camvid

A single row, by its name in `gcnet_jax.analysis.VARIANTS`:

    gcnet train --config=configs/ablation/camvid.py:nl --workdir=runs/camvid_nl
"""

from configs.common import camvid
from gcnet_jax.analysis import select_variant


def get_config(variant=""):
    config = camvid.get_config()
    config.model.dtype = "bfloat16"
    config.model.backbone.context.global_context.ratio = 1 / 4  # as in the head
    config.data.num_workers = 8

    config.training.total_steps = 8000
    config.training.batch_size = 16
    config.training.evaluate_every = 1000
    config.training.checkpoint_every = 1000

    config.evaluation.batch_size = 16
    return select_variant(config, variant) if variant else config
