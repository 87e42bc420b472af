"""Measures speed, with mmsegmentation beside it where that is installed. See --help."""

from gcnet_jax.cli.benchmark import main

if __name__ == "__main__":
    main()
