"""One file for each contender: a class `Contender` with start, run and stop, imported in its own environment only.

`run` returns what the code printed; `seconds` is the deadline, handed to the library where it takes one.
"""
