"""Stores as other programs write them."""

from contextlib import AbstractContextManager
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import zarr
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from balans_dask.io.files import put_files

INPUT = {"uns/balans/input/c"}


def plain_layout(zarr_format: int = 3) -> AbstractContextManager[None]:
    """Any anndata writes as 0.12 does, without the shards and the masks of text of 0.13."""
    return anndata.settings.override(
        zarr_write_format=zarr_format, auto_shard_zarr_v3=False, allow_write_nullable_strings=False
    )


def write_anndata(
    path: Path,
    profiles: np.ndarray,
    zarr_format: int = 3,
    chunks: tuple[int, int] | None = None,
    obsm: dict[str, np.ndarray] | None = None,
    **obs: object,
) -> str:
    """A store written by anndata itself, in memory, which takes half the time."""
    frame = pd.DataFrame(obs, index=[f"well{i}" for i in range(len(profiles))])
    names = [f"Cells_{i}" for i in range(profiles.shape[1])]
    data = anndata.AnnData(profiles, frame, pd.DataFrame(index=names), obsm=obsm)
    contents: dict[str, Buffer] = {}
    with plain_layout(zarr_format):
        data.write_zarr(MemoryStore(contents), chunks=chunks)
    put_files(Path(path), {name: content.to_bytes() for name, content in contents.items()})
    assert zarr.open_group(path, mode="r").metadata.zarr_format == zarr_format
    return str(path)


def files(path: str | Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes."""
    root = Path(path)
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def files_but_input(path: str | Path) -> dict[str, bytes]:
    """Every file of a corrected store but where its input is, in which equal runs may differ."""
    found = files(path)
    return {name: content for name, content in found.items() if name not in INPUT}
