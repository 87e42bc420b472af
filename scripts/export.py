"""Writes a trained network as one file that runs elsewhere. See --help."""

from gcnet_jax.cli.gcnet import run_verb

if __name__ == "__main__":
    run_verb("export")
