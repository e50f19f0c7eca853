"""``balans convert``."""

from typing import Any

from rich.console import Console

from balans_dask.cli.options import column_rule
from balans_dask.cli.terminal import facts_table
from balans_dask.errors import first_names
from balans_dask.io.tables.convert import convert_table

__all__ = ["run_convert"]


def run_convert(
    console: Console,
    source: str,
    target: str,
    pattern: str | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Make a store of a table, and say what it holds."""
    rule = column_rule(options)
    found = convert_table(source, target, overwrite, rule, pattern)
    facts = {
        "rows": f"{found.n_rows:,}",
        "features": f"{found.n_features:,}",
        "columns of obs": first_names(found.annotations, 12),
    }
    if rule.features or rule.left_out:
        facts["feature rule"] = rule.explained()
    if found.left_out:
        facts["left out"] = f"{len(found.left_out):,} columns ({first_names(found.left_out)})"
    if found.n_bad_rows:
        facts["NaN or infinite"] = (
            f"in {found.n_bad_features} features and {found.n_bad_rows} rows: "
            "drop them with `balans preprocess --select missing`, or impute them"
        )
    console.print(facts_table(target, facts))
