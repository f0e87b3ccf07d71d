"""Ratios of time and memory against plain baselines: `python -m tests.benchmarks [names] [--rounds N] [--json FILE]`.

Nothing here asserts a time: a busy machine would fail it.
"""
