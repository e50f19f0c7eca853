"""Which columns of a table are features and which describe the rows."""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from balans_dask.errors import InvalidInputError
from balans_dask.io.store import first_names

__all__ = ["METADATA_PREFIX", "annotation_frame", "is_annotation", "require_features"]

METADATA_PREFIX = "Metadata_"
_INDEX_COLUMN = re.compile(r"__index_level_\d+__|Unnamed: 0|")


def is_annotation(name: str, numeric: bool) -> bool:
    """Tell whether a column describes the row: by its prefix, or because it is not numeric.

    The convention of pycytominer and JUMP. Row numbers that pandas saved count as annotation.
    """
    is_index = _INDEX_COLUMN.fullmatch(name) is not None
    return name.startswith(METADATA_PREFIX) or is_index or not numeric


def require_features(path: str, features: list[str], columns: list[str]) -> None:
    """Refuse a table without features, or with columns of the same name.

    Raises
    ------
    InvalidInputError
    """
    repeated = sorted(name for name, n in Counter(columns).items() if n > 1)
    if repeated:
        raise InvalidInputError(
            f"{path} has {len(repeated)} column names more than once ({first_names(repeated)}): "
            "rename them"
        )
    if not features:
        raise InvalidInputError(
            f"{path} has no numeric feature among its {len(columns)} columns: every numeric "
            f"column without the prefix {METADATA_PREFIX} is one, check the file"
        )


def annotation_frame(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Join the annotations of consecutive rows into one table that AnnData can hold.

    Columns that some files lack are empty there. A column of mixed types becomes text, and text
    that repeats becomes categories.
    """
    joined = pd.concat(list(frames), ignore_index=True)
    for name in joined.columns:
        column = joined[name]
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            text = column.astype(object).where(column.isna(), column.map(str))
            text = text.where(~column.isna(), None)
            repeats = text.nunique(dropna=True) < len(text)
            joined[name] = pd.Categorical(text) if repeats else text
    joined.index = pd.Index(np.arange(len(joined)).astype(str))
    return joined
