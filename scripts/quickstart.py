"""Shows in a few minutes what a global context block does; see --help."""

from gcnet_jax.cli.process import run_alone
from gcnet_jax.cli.quickstart import main

if __name__ == "__main__":
    run_alone(main)
