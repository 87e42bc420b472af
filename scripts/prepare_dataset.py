"""Prepares a data set once; training and evaluation read what it writes. See --help."""

from gcnet_jax.cli.prepare_dataset import main
from gcnet_jax.cli.process import run_alone

if __name__ == "__main__":
    run_alone(main)
