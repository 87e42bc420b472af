"""Evaluates a trained segmentor on one split of its data set. See --help."""

from gcnet_jax.cli.collect_results import main

if __name__ == "__main__":
    main()
