"""Looks into context blocks: what they attend to, and what they cost. See --help."""

from gcnet_jax.cli.analyze_context import main

if __name__ == "__main__":
    main()
