"""Measurements against peers, taken in the same run. Run them with ``scripts/bench``."""
