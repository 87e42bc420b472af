"""Measures speed, with mmsegmentation beside it where that is installed. See --help."""

from gcnet_jax.cli.gcnet import run_verb

if __name__ == "__main__":
    run_verb("benchmark")
