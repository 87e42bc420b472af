"""Measures speed, with mmsegmentation beside it where that is installed. See --help."""

from gcnet_jax.cli.benchmark import main
from gcnet_jax.cli.process import run_alone

if __name__ == "__main__":
    run_alone(main)
