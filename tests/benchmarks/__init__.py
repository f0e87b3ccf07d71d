"""Ratios of time and memory against plain baselines, and how costs grow with size.

    python -m tests.benchmarks [NAME ...]        one table of ratios; all benchmarks without a name
    python -m tests.benchmarks.scale [NAME ...]  cost against batch, image size, width, data and runs, with exponents
    python -m tests.benchmarks.draw FILE.json ... --out speed.png

The first two take --rounds N, --threads N and --json FILE, which is what the third draws. Both sides of a ratio take
turns within a round, and the median over the rounds counts: what slows the machine for a while then slows both.
Where both sides are the same algorithm, the losses of the first steps are compared before anything is timed.

Nothing here asserts a time: a busy machine would fail it.
"""
