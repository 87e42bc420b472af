"""Shows in two minutes what a global context block does; see --help."""

from gcnet_jax.cli.gcnet import run_verb

if __name__ == "__main__":
    run_verb("quickstart")
