"""Looks into context blocks: what they attend to, and what they cost. See --help."""

from gcnet_jax.cli.gcnet import run_verb

if __name__ == "__main__":
    run_verb("analyze_context")
