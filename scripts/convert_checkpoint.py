"""Converts checkpoints from OpenMMLab and to it. See --help."""

from gcnet_jax.cli.convert_checkpoint import main
from gcnet_jax.cli.process import run_alone

if __name__ == "__main__":
    run_alone(main)
