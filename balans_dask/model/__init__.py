"""The method on the driver: what is fitted, how it is frozen, and what is asked of the passes."""
