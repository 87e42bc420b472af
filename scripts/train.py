"""Trains a segmentor. See --help."""

from gcnet_jax.cli.train import main

if __name__ == "__main__":
    main()
