"""Where experiments keep their results, and at which sizes they run."""

from pathlib import Path

__all__ = ["RESULTS", "SIZES"]

SIZES = ("tiny", "small", "full")
"""``tiny`` only shows that the experiment runs; ``small`` is minutes for all of them together."""
RESULTS = Path(__file__).parents[1] / "experiments" / "results"
