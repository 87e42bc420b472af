"""Lets training runs meet faults, and checks that nothing is lost. See --help."""

from gcnet_jax.cli.gcnet import run_verb

if __name__ == "__main__":
    run_verb("soak")
