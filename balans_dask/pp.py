"""Correction of AnnData objects, called as scanpy's preprocessing functions are."""

from collections.abc import Mapping, Sequence
from typing import Any

from anndata import AnnData
from numpy.typing import ArrayLike

from balans_dask.errors import InvalidInputError
from balans_dask.estimator import Balans
from balans_dask.io.in_place import ELEMENTS
from balans_dask.parameters import Parameters
from balans_dask.progress import reported
from balans_dask.workflows.anndata import integrate, integration, require_room
from balans_dask.workflows.array_inputs import current_engine
from balans_dask.workflows.arrays import parameters_of
from balans_dask.workflows.request import ADDED_COLUMNS, OURS, SCORES_KEY

__all__ = ["balans_integrate"]


def balans_integrate(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    basis: str | None = "X_pca",
    adjusted_basis: str | None = None,
    correct_features: bool = False,
    anchor: str | ArrayLike | None = None,
    controls: str | ArrayLike | None = None,
    **params: Any,
) -> None:
    """Align batches of an AnnData object; run it between ``sc.pp.pca`` and ``sc.pp.neighbors``.

    Batches move towards each other as far as the rows confirm that they hold the same populations
    (``operator="align"``, see ``Balans``). The published method is ``operator="smooth",
    max_scale_ratio=None, correct_single_batch=True`` (``Balans.paper``).

    The current ``distributed.Client`` does the work if there is one, and stays open; else this
    process does.

    Parameters
    ----------
    adata : AnnData
        In memory, backed (``read_h5ad(backed=...)``) or lazy (``experimental.read_lazy``).
    key : str or sequence of str
        Column of ``obs`` with the batch; several make joint batches.
    basis : str or None, default="X_pca"
        Matrix of ``obsm`` in which distances are taken, and which is corrected. ``None`` takes the
        principal components of the standardised ``X``, made here (``n_components``).
    adjusted_basis : str or None, default=None
        Matrix of ``obsm`` for the corrected scores, other than the basis; ``None`` for
        ``f"{basis}_balans"``.
    correct_features : bool, default=False
        Correct ``X`` too, with the same weights, into ``layers["balans"]``.
    anchor : str, array-like of shape (n_obs,) of bool, or None, default=None
        Query on ``obs``, or mask, of the rows on which the correction is estimated, such as
        controls; with ``operator`` ``"align"`` or ``"displace"``.
    controls : str, array-like of shape (n_obs,) of bool, or None, default=None
        Query on ``obs``, or mask, of the rows whose covariance whitens all rows after the
        correction.
    **params
        Of ``Balans``, such as ``shared_populations``, ``operator``, ``n_passes``, ``random_state``,
        ``verbose``.

    Returns
    -------
    None
        These parts of ``adata`` are set, and replaced where they are there:

        - ``obsm[adjusted_basis]``, array of shape (n_obs, n_columns): corrected scores; a Dask
          array that is not computed yet if the basis is one;
        - ``layers["balans"]``, array of shape (n_obs, n_vars), with ``correct_features`` only: a
          Dask array if ``X`` is lazy or backed;
        - ``obs["balans_covered"]``, bool: rows that some landmark covers;
        - ``obs["balans_is_landmark"]``, bool;
        - ``obs["balans_displacement"]``, float32: how far the row moved in the basis;
        - ``uns["balans"]``, dict: parameters, versions, stop reason, coverage curve, with ``align``
          ``rho`` and ``kappa``, as corrected stores hold them.

    Raises
    ------
    InvalidInputError
        If a column, a label or the basis is missing, or values or parameters cannot be used;
        ``adata`` is then as it was.

    See Also
    --------
    balans_dask.Balans : The estimator, which can also correct later plates.

    Notes
    -----
    The cost is that of ``Balans``, O(n m p) time for m landmarks and p columns of the basis. Of a
    lazy or backed object only columns of ``obs`` are read into memory, at the cost of one more pass
    over the rows. Each chunk of a lazy result computes its affinities when it is asked for.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> import balans_dask
    >>> rng = np.random.default_rng(0)
    >>> adata = anndata.AnnData(rng.normal(size=(60, 4)))
    >>> adata.obs["plate"] = np.repeat(["p1", "p2"], 30)
    >>> adata.obsm["X_pca"] = adata.X[:, :3]
    >>> balans_dask.pp.balans_integrate(adata, "plate")
    >>> adata.obsm["X_pca_balans"].shape
    (60, 3)
    """
    place = adjusted_basis or (SCORES_KEY if basis is None else f"{basis}_balans")
    require_room(adata, basis, place)
    asked = integration(
        adata, key, basis, correct_features, anchor, controls, _parameters(basis, params)
    )
    verbose = params.get("verbose", False)
    with current_engine(*asked.matrices) as engine, reported(verbose) as tell, engine.telling(tell):
        done = integrate(engine, asked)
    adata.obsm[place] = done.scores
    elements = [f"obsm/{place}", f"uns/{OURS}"]
    for name, values in zip(ADDED_COLUMNS, done.columns, strict=True):
        adata.obs[name] = values
        elements.append(f"obs/{name}")
    if correct_features:
        adata.layers[OURS] = done.features
        elements.append(f"layers/{OURS}")
    adata.uns[OURS] = done.record | {ELEMENTS: elements}


def _parameters(basis: str | None, params: Mapping[str, Any]) -> Parameters:
    given = dict(params)
    if basis is not None:
        if given.pop("n_components", None) is not None:
            raise InvalidInputError(
                f"n_components means nothing to the basis {basis!r}, all columns of which are "
                "taken: leave it out, or give basis=None for principal components of X"
            )
        given["n_components"] = None
    return parameters_of(Balans(**given).get_params(deep=False))
