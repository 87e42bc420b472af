"""Prepares a data set once; training and evaluation read what it writes. See --help."""

from gcnet_jax.cli.prepare_dataset import main

if __name__ == "__main__":
    main()
