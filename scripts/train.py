"""Trains a segmentor. See --help."""

from gcnet_jax.cli.process import run_alone
from gcnet_jax.cli.train import main

if __name__ == "__main__":
    run_alone(main)
