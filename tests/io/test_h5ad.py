"""h5ad files of any age become stores, and what a store does not get is named."""

import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from balans_dask.errors import InputWarning, InvalidInputError
from balans_dask.io.tables.convert import convert_table

N = 60
VALUES = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
TEXT = h5py.string_dtype()


def converted(tmp_path):
    convert_table(str(tmp_path / "t.h5ad"), str(tmp_path / "o.zarr"), overwrite=True)
    return anndata.read_zarr(tmp_path / "o.zarr")


def records(**columns):
    """A table as anndata 0.6 wrote it."""
    kinds = [(name, TEXT if np.asarray(values).dtype == object else np.asarray(values).dtype)
             for name, values in columns.items()]  # fmt: skip
    table = np.zeros(len(next(iter(columns.values()))), dtype=kinds)
    for name, values in columns.items():
        table[name] = values
    return table


def old_file(tmp_path, **others):
    """Codes of plates beside their categories in uns, as anndata 0.6 kept them."""
    parts = {
        "X": VALUES,
        "obs": records(
            index=np.array([f"c{row}" for row in range(N)], dtype="S5"),
            plate=np.repeat(np.array([0, 1, 2], "i1"), N // 3),
            well=np.array([f"wéll{row % 7}" for row in range(N)], dtype=object),
            dose=np.arange(N) / 8,
            kind=np.where(np.arange(N) == 3, -1, 0).astype("i1"),
        ),
        "var": records(index=np.array([b"f0", b"f1", b"f2", b"f3"]), kind=np.array([0, 1, 1, 2])),
        "uns/plate_categories": np.array([b"P1", b"P2", b"P3"]),
        "uns/kind_categories": "treated",
    } | others
    with h5py.File(tmp_path / "t.h5ad", "w") as file:
        for name, value in parts.items():
            file[name] = value
    return tmp_path / "t.h5ad"


def test_a_file_of_anndata_before_0_7_is_converted_as_anndata_reads_it(tmp_path):
    path = old_file(tmp_path)
    data = converted(tmp_path)
    np.testing.assert_array_equal(data.X, VALUES)
    assert data.obs["plate"].tolist() == np.repeat(["P1", "P2", "P3"], N // 3).tolist()
    assert data.obs["well"].tolist() == [f"wéll{row % 7}" for row in range(N)]
    assert data.obs["dose"].tolist() == (np.arange(N) / 8).tolist()
    # Categories of obs that do not fit the codes of var.
    assert data.obs["kind"].isna().sum() == 1
    assert data.obs["kind"].dropna().unique().tolist() == ["treated"]
    assert data.var["kind"].tolist() == [0, 1, 1, 2]
    with warnings.catch_warnings(action="ignore"):
        theirs = anndata.read_h5ad(path)
    assert list(data.obs_names) == list(theirs.obs_names)
    assert list(data.var_names) == list(theirs.var_names)
    for name in ("plate", "dose", "kind"):
        assert data.obs[name].astype(object).equals(theirs.obs[name].astype(object))


def test_matrices_of_anndata_before_0_7_are_fields_of_one_array(tmp_path):
    obsm = np.zeros(N, dtype=[("X_pca", "f8", (2,)), ("X_tsne", "f4", (3,)), ("flag", "S2")])
    obsm["X_pca"] = VALUES[:, :2]
    raw = {"raw.X": VALUES, "raw.var": records(index=np.array([b"a", b"b", b"c", b"d"]))}
    old_file(tmp_path, obsm=obsm, **raw)
    with pytest.warns(InputWarning, match=r"2 elements .*: only X") as said:
        data = converted(tmp_path)
    assert "(1 of obsm (flag), raw)" in str(said[0].message)
    np.testing.assert_array_equal(data.obsm["X_pca"], VALUES[:, :2])
    assert data.obsm["X_tsne"].shape == (N, 3)


def test_a_sparse_matrix_of_anndata_before_0_7_is_converted(tmp_path):
    sparse = scipy.sparse.csr_matrix(np.maximum(VALUES, 0))
    with h5py.File(old_file(tmp_path), "a") as file:
        del file["X"]
        for name in ("data", "indices", "indptr"):
            file[f"X/{name}"] = getattr(sparse, name)
        file["X"].attrs.update({"h5sparse_format": "csr", "h5sparse_shape": sparse.shape})
    np.testing.assert_array_equal(converted(tmp_path).X, sparse.toarray())


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"obs": np.zeros(N)}, r"cannot be read as h5ad \(obs: it is no table"),
        ({"var": records(index=np.array([b"f0", b"f1"]))}, "with 60 rows in obs and 2 in var"),
        ({"obsm/X_pca": np.zeros((7, 2))}, "7 rows in obsm/X_pca and 60 in obs"),
        (
            {"obs": records(index=np.array([b"\xff"] * N))},
            r"cannot be read as h5ad \(obs: .*can't decode",
        ),
        (
            {"obs": records(index=np.array([f"c{i}" for i in range(N)], "S5"),
                            plate=np.array([b"a\0b", b"a"] * (N // 2)))},
            r"NUL character in 30 labels of 1 columns \(plate\): remove it",
        ),
    ],
)  # fmt: skip
def test_a_damaged_old_file_is_refused_in_one_line(tmp_path, others, reason):
    old_file(tmp_path, **others)
    with pytest.raises(InvalidInputError, match=reason) as caught:
        convert_table(str(tmp_path / "t.h5ad"), str(tmp_path / "o.zarr"))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["t.h5ad"]


def test_what_is_not_converted_is_named_with_counts(tmp_path):
    obs = pd.DataFrame({"a": ["x", "y"] * (N // 2)}, index=[f"c{row}" for row in range(N)])
    data = anndata.AnnData(VALUES, obs)
    data.raw = data.copy()
    data.layers["counts"] = VALUES
    data.obsm["X_pca"] = VALUES[:, :2]
    data.obsm["graph"] = scipy.sparse.csr_matrix(VALUES)
    data.obsm["table"] = pd.DataFrame({"b": np.arange(N)}, index=obs.index)
    data.obsp["near"] = scipy.sparse.csr_matrix(np.eye(N, dtype=np.float32))
    data.varm["PCs"] = VALUES[:4]
    data.uns = dict.fromkeys("vwxyz", 1) | {"a_categories": ["x"]}
    data.write_h5ad(tmp_path / "t.h5ad")
    with pytest.warns(InputWarning, match="12 elements of .* are not converted") as said:
        found = converted(tmp_path)
    for part in (
        *("1 of layers (counts)", "2 of obsm (graph, table)", "1 of obsp (near)"),
        *("raw,", "6 of uns (a_categories, v, w, ...)", "1 of varm (PCs)"),
    ):
        assert part in str(said[0].message)
    assert list(found.obsm) == ["X_pca"]
    plain = anndata.AnnData(VALUES, obs, obsm={"X_pca": VALUES[:, :2]})
    plain.write_h5ad(tmp_path / "t.h5ad")
    assert list(converted(tmp_path).obsm) == ["X_pca"]
