"""Prepares a data set once; training and evaluation read what it writes. See --help."""

from gcnet_jax.cli.gcnet import run_verb

if __name__ == "__main__":
    run_verb("prepare_dataset")
