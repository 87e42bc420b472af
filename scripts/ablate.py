"""Trains the variants of a network that differ in their context block. See --help."""

from gcnet_jax.cli.ablate import main

if __name__ == "__main__":
    main()
