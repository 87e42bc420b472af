"""Shows in a few minutes what a global context block does; see --help."""

from gcnet_jax.cli.quickstart import main

if __name__ == "__main__":
    main()
