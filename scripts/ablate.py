"""Trains the variants of a network that differ in their context block. See --help."""

from gcnet_jax.cli.gcnet import run_verb

if __name__ == "__main__":
    run_verb("ablate")
