"""What `scripts/soak.py` does to training runs, and how it judges what becomes of them.

`plan` draws the faults, `jobs` starts training as a user does, `injection` does the harm, `states`
reads what runs have saved, `series` puts these together and judges, `report` counts.
"""
