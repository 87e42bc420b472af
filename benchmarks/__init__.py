"""Benchmarks of speed and memory, one module a benchmark: `python -m benchmarks --help`.

They are run from a checkout and are no part of the installed package.
"""
