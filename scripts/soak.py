"""Lets training runs meet faults, and checks that nothing is lost. See --help."""

from gcnet_jax.cli.process import run_alone
from gcnet_jax.cli.soak import main

if __name__ == "__main__":
    run_alone(main)
