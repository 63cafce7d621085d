"""The fault programme: what was acknowledged is there and whole, whatever is killed, cut, full, failing or rotten.

Each module is one fault with a function ``run(folder, rounds, seed) -> Counts``. pytest runs them small, ``scripts/faults`` at full size.
"""
