"""Shows trained networks on a page of this machine. See --help."""

from gcnet_jax.cli.gcnet import run_verb

if __name__ == "__main__":
    run_verb("demo")
