"""The campaign of random faults against training runs: `python -m tests.faults --help`.

`plan` draws the faults, `jobs` starts training as a user does, `injection` and `spoiled_step` do
the harm, `live_faults` does it while training runs, `undisturbed_run` is what every run is compared
with, `digests` reads what runs have saved, `verdict` judges, `series` puts these together, and
`report` counts. The tests beside them are of these parts.
"""
