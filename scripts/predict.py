"""Segments images with a trained model. See --help."""

from gcnet_jax.cli.predict import main
from gcnet_jax.cli.process import run_alone

if __name__ == "__main__":
    run_alone(main)
