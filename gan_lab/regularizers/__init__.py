"""Regularizers, one family a file. Chosen as a list, `regularizer=[r1,lecam] regularizer.r1.gamma=1`.

Each is a term of one player: `player`, `weight`, `every` and `probes` are what the loop reads. A term is right under
micro-batches, unless its docstring says that it couples the rows of a batch.
"""
