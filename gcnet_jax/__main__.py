"""Lets `python -m gcnet_jax VERB` be the command `gcnet VERB`."""

from gcnet_jax.cli.gcnet import main

if __name__ == "__main__":
    main()
