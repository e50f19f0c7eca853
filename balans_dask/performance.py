"""``--performance-report``: what Dask saw of a run, as one HTML file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed import Client, performance_report

from balans_dask.errors import InvalidInputError
from balans_dask.io.atomic import replace_file
from balans_dask.io.paths import require_free_file

__all__ = ["reporting", "require_report"]

REMEDY = 'pip install "balans-dask[dashboard]"'


def require_report(path: str | None, overwrite: bool, apart: Iterable[str | None]) -> None:
    """Refuse, before there is a cluster, a report that could not be written.

    Parameters
    ----------
    path : str or None
        ``None`` for no report.
    overwrite : bool
        Replace a file that is there.
    apart : iterable of str or None
        Other paths of the command.

    Raises
    ------
    InvalidInputError
        If bokeh is missing, or the folder.
    StoreExistsError
        If a file is there that is not to be replaced.
    """
    if path is None:
        return
    if find_spec("bokeh") is None:
        raise InvalidInputError(f"--performance-report needs bokeh: {REMEDY}")
    require_free_file(path, overwrite, [other for other in apart if other is not None])


@contextmanager
def reporting(client: Client, path: str | None) -> Iterator[None]:
    """Write Dask's report of what happens inside, if it ends well.

    Parameters
    ----------
    client : distributed.Client
    path : str or None
        ``None`` for no report.

    Raises
    ------
    InvalidInputError
        If the scheduler, which draws the report, has no bokeh.
    """
    if path is None:
        yield
        return
    if not client.run_on_scheduler(_has_bokeh):
        raise InvalidInputError(
            f"--performance-report needs bokeh where the scheduler runs: {REMEDY} there"
        )
    with TemporaryDirectory() as folder:
        # Dask takes a path for a URL where it can, and packs what ends in .gz.
        page = Path(folder) / "report.html"
        with client.as_current():
            report = performance_report(filename=str(page), mode="inline")
            report.__enter__()
        yield
        with client.as_current():
            report.__exit__(None, None, None)
        replace_file(Path(path), page.read_bytes())


def _has_bokeh() -> bool:
    return find_spec("bokeh") is not None
