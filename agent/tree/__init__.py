"""A user's folder as a run's input, and what the run made of it: selected, compared, shown, applied, undone.

Nobody here runs Git, or writes to a `.git`.
"""
