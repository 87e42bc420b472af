"""Looks into context blocks: what they attend to, and what they cost. See --help."""

from gcnet_jax.cli.analyze_context import main
from gcnet_jax.cli.process import run_alone

if __name__ == "__main__":
    run_alone(main)
