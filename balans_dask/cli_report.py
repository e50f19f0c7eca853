"""``balans report``."""

from balans_dask.cluster.open import silence_dask
from balans_dask.report import require_plot

__all__ = ["run_report"]


def run_report(
    store: str,
    html: str,
    label_key: str | None,
    control: str | None,
    evaluate: bool | None,
    overwrite: bool,
) -> list[str]:
    """Write a report, if there are the libraries that draw; return what it warns of."""
    require_plot()
    from balans_dask.report.document import write_report

    silence_dask()
    return write_report(store, html, label_key, control, evaluate, overwrite)
