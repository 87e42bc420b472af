"""Evaluates a trained segmentor on one split of its data set. See --help."""

from gcnet_jax.cli.collect_results import main
from gcnet_jax.cli.process import run_alone

if __name__ == "__main__":
    run_alone(main)
