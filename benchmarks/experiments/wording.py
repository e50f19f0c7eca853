"""Words that all readings need: lists and ranges."""

from collections.abc import Iterable, Sequence

__all__ = ["bullets", "listed", "span"]


def bullets(items: Iterable[str]) -> str:
    """Write a list in Markdown."""
    return "\n".join(f"- {item}" for item in items)


def listed(names: Sequence[str]) -> str:
    """Join names by commas and an *and*."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def span(values: Iterable[float], form: str) -> str:
    """Write the smallest and the largest value, or the one that they are when written."""
    there = list(values)
    low, high = (format(each, form) for each in (min(there), max(there)))
    return low if low == high else f"{low} to {high}"
