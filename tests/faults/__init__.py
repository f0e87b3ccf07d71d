"""The fault bench: whole runs are broken in every way that we know of, and must end as if nothing had been.

`nox -s faults` runs it and prints one table.
"""
