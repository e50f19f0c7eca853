"""Tables in Markdown."""


def interval(values: tuple[float, float, float]) -> str:
    """Write a difference and its interval."""
    difference, low, high = values
    return f"{difference:+.4f} [{low:+.4f}, {high:+.4f}]"


def lines(head: list[str], rows: list[list[str]]) -> str:
    """Write one table."""
    rule = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows]) + "\n"
