"""Segments images with a trained model. See --help."""

from gcnet_jax.cli.predict import main

if __name__ == "__main__":
    main()
