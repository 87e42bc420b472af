"""The command `python -m tests.faults`, see `tests.faults.campaign`."""

from gcnet_jax.cli.importing import importing

if __name__ == "__main__":
    with importing():
        from gcnet_jax.cli.process import run_alone
        from tests.faults import campaign
    run_alone(campaign.main)
