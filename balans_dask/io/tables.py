"""Which reader opens a table of profiles."""

from pathlib import Path

from balans_dask.errors import InvalidInputError
from balans_dask.io.csv_table import open_csv
from balans_dask.io.h5ad_table import open_h5ad
from balans_dask.io.parquet_table import open_parquet
from balans_dask.io.paths import require_exists
from balans_dask.io.slabs import RowStream

__all__ = ["open_table"]


def open_table(path: str) -> RowStream:
    """Open a parquet, csv, csv.gz or h5ad file, or a folder of parquet files.

    Suffixes may be in upper case. In a folder, hidden files are left out.

    Raises
    ------
    InvalidInputError
        If the format is none of these, or the table holds no features.
    """
    source = Path(path)
    require_exists(path)
    if source.is_dir():
        files = [file for file in sorted(source.rglob("*")) if _is_parquet(source, file)]
        if not files:
            raise InvalidInputError(f"{path} is a folder without a .parquet file: check the path")
        return open_parquet(path, files)
    name = source.name.lower()
    if name.endswith(".parquet"):
        return open_parquet(path, [source])
    if name.endswith((".csv", ".csv.gz")):
        return open_csv(path)
    if name.endswith(".h5ad"):
        return open_h5ad(path)
    raise InvalidInputError(
        f"{path} has no known format: give .parquet, .csv, .csv.gz, .h5ad or a folder of .parquet"
    )


def _is_parquet(folder: Path, file: Path) -> bool:
    # Editors and file systems keep copies in hidden places, and some writers name the folder of a
    # table like a file.
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() == ".parquet" and not hidden and file.is_file()
