"""The command `python -m benchmarks`, see `benchmarks.command`."""

from gcnet_jax.cli.importing import importing

if __name__ == "__main__":
    with importing():
        from benchmarks import command
        from gcnet_jax.cli.process import run_alone
    run_alone(command.main)
