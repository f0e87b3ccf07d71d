"""Regularizers, one family a file. Chosen as a list, `regularizer=[r1,lecam] regularizer.r1.gamma=1`.

Each is a term of one player. The loop reads `player`, `weight`, `every` and `probes`. A term gives the same result with
micro-batches, unless its docstring says that it couples the rows of a batch.
"""
