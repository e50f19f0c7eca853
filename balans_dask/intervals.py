"""Times that are our choice: defaults of the command line and of the library alike."""

__all__ = ["CHECKPOINT_SECONDS", "WORKER_TIMEOUT_SECONDS"]

CHECKPOINT_SECONDS = 5.0
"""Least time between two checkpoints: what a kill may cost, besides the round under way."""
WORKER_TIMEOUT_SECONDS = 300.0
"""How long a run goes on without any worker, unless these are jobs, which may wait for hours."""
