"""Trains the variants of a network that differ in their context block. See --help."""

from gcnet_jax.cli.ablate import main
from gcnet_jax.cli.process import run_alone

if __name__ == "__main__":
    run_alone(main)
