"""Converts checkpoints from OpenMMLab and to it. See --help."""

from gcnet_jax.cli.convert_checkpoint import main

if __name__ == "__main__":
    main()
