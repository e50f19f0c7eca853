"""The estimator: arrays in, arrays out, by scikit-learn's contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import pandas as pd
from distributed import default_client
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from balans_dask.arrays import gathered_rows, is_lazy, source_of
from balans_dask.batches import batch_labels
from balans_dask.errors import InvalidInputError
from balans_dask.examine import examine
from balans_dask.fitting import Fit, fit, learn
from balans_dask.inputs import Inputs, plan_run
from balans_dask.kernels.elbow import BINS_PER_UNIT
from balans_dask.lazy import lazy_rows
from balans_dask.parameters import Parameters
from balans_dask.passes.blas import single_threaded_blas
from balans_dask.passes.engine import Engine, embedded_client

__all__ = ["Balans", "correct_batches"]


class Balans(BaseEstimator):
    """Align batches by local affinities and subsampling (BALANS, arXiv 2601.22331).

    Every sampled row (landmark) measures its distances to all rows, scales them by the distance to
    its k-th nearest neighbour *within each batch*, keeps the strong Gaussian affinities up to their
    elbow, and the profiles are smoothed with them: X_hat = D^-1 A_S^T (A_S X).

    Work runs on the current ``distributed.Client`` if there is one, else on threads of this
    process. The result does not depend on which, nor on chunks.

    Parameters
    ----------
    n_neighbors : int, default=5
        k of the paper: the neighbour whose distance is the local scale.
    patience : int, default=50
        tau of the paper: stop after this many consecutive rows that cover nothing new.
    operator : {"smooth", "nystrom", "displace"}, default="smooth"
        ``smooth`` takes weighted means, D^-1 A_S^T (A_S X), as the paper does; ``nystrom`` puts the
        pseudo-inverse of A_SS between; ``displace`` keeps every profile and moves it by the local
        displacement of its batch.
    strength : float, default=1.0
        Share of the correction in the output, from 0 to 1; the rest is the input.
    block_rows : int, default=64
        Rows drawn before coverage is updated; 1 is the paper's sequential loop.
    coverage_tol : float, default=0.0
        A row is idle if it covers at most this share of all rows anew.
    max_rows : int or None, default=None
        Draw at most this many rows.
    n_components : int or None, default=50
        Principal components of the standardised features in which distances are taken; ``None``
        if ``X`` is an embedding already.
    max_scale_ratio : float or None, default=None
        Cap every local scale at this many times the row's smallest. ``None`` is the paper.
    max_neighbors : int or None, default=None
        A row of the affinity matrix keeps at most this many entries.
    uncovered : {"nearest", "keep"}, default="nearest"
        Rows that no landmark covers follow the nearest one, or stay as they are.
    random_state : int, RandomState instance or None, default=0
        Seed of the draws.

    Attributes
    ----------
    sampled_rows_ : ndarray of shape (n_landmarks,), int64
        Landmarks in draw order.
    scales_ : ndarray of shape (n_landmarks, n_batches), float64
        Local scale of every landmark in every batch, in units of the scores.
    thresholds_ : ndarray of shape (n_landmarks,), float64
        Affinities of u = d^2 / sigma^2 at or above this are dropped.
    coverage_ : ndarray of shape (n_samples,), float64
        Sum of the kept affinities of every row.
    coverage_curve_ : ndarray of shape (n_rounds, 2), int64
        Rows sampled and rows covered after every round.
    stop_reason_ : {"patience", "all_rows", "max_rows"}
    n_rounds_ : int
    batches_ : ndarray of shape (n_batches,), object
        Labels in the order of the columns of ``scales_``.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,), object
        Only if ``X`` is a DataFrame with text columns.

    See Also
    --------
    correct_batches : The same as one function.

    Notes
    -----
    Cost: O(n m p) time for m landmarks and p components, three matrix products a round of
    ``block_rows`` landmarks; no dense array larger than a partition.

    References
    ----------
    .. [1] Ravi et al., "Scalable Batch Correction for Cell Painting via Batch-Dependent Kernels and
       Adaptive Sampling", 2026, arXiv:2601.22331.

    Examples
    --------
    >>> import numpy as np
    >>> from balans_dask import Balans
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 4))
    >>> plate = np.repeat(["p1", "p2"], 30)
    >>> X[plate == "p2"] += 0.5
    >>> Balans(n_components=3).fit_transform(X, batch=plate).shape
    (60, 4)
    """

    def __init__(
        self,
        *,
        n_neighbors: int = 5,
        patience: int = 50,
        operator: str = "smooth",
        strength: float = 1.0,
        block_rows: int = 64,
        coverage_tol: float = 0.0,
        max_rows: int | None = None,
        n_components: int | None = 50,
        max_scale_ratio: float | None = None,
        max_neighbors: int | None = None,
        uncovered: str = "nearest",
        random_state: Any = 0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.patience = patience
        self.operator = operator
        self.strength = strength
        self.block_rows = block_rows
        self.coverage_tol = coverage_tol
        self.max_rows = max_rows
        self.n_components = n_components
        self.max_scale_ratio = max_scale_ratio
        self.max_neighbors = max_neighbors
        self.uncovered = uncovered
        self.random_state = random_state

    def fit(self, X: Any, y: None = None, *, batch: Any = None) -> Self:
        """Sample the landmarks of some profiles.

        Parameters
        ----------
        X : ndarray, DataFrame, dask.array.Array or zarr.Array of shape (n_samples, n_features)
            Profiles; finite numbers.
        y : None
            Ignored.
        batch : array-like of shape (n_samples,), or None
            Label of every row; a number is a label too. ``None`` is one batch.

        Returns
        -------
        self : Balans

        Raises
        ------
        InvalidInputError
            If values, labels or parameters cannot be used.
        """
        with _engine() as engine:
            self._fit(engine, X, batch)
        return self

    def fit_transform(self, X: Any, y: None = None, *, batch: Any = None) -> Any:
        """Correct some profiles.

        Parameters
        ----------
        X : ndarray, DataFrame, dask.array.Array or zarr.Array of shape (n_samples, n_features)
            Profiles; finite numbers.
        y : None
            Ignored.
        batch : array-like of shape (n_samples,), or None
            Label of every row; a number is a label too. ``None`` is one batch.

        Returns
        -------
        corrected : ndarray or dask.array.Array of shape (n_samples, n_features)
            A numpy array, or, for a Dask or Zarr array, a Dask array that is not computed yet: each
            chunk reads its rows of ``X`` and computes its affinities when it is asked for.

        Raises
        ------
        InvalidInputError
            If values, labels or parameters cannot be used.
        """
        with _engine() as engine:
            fitted = self._fit(engine, X, batch)
            with single_threaded_blas():
                learned = learn(engine, fitted)
                collect = lazy_rows if is_lazy(X) else gathered_rows
                return collect(engine, fitted, learned)

    def _fit(self, engine: Engine, X: Any, batch: Any) -> Fit:
        parameters = self._parameters()
        source, names = source_of(engine, X)
        column = np.zeros(source.shape[0], dtype=np.int8) if batch is None else batch
        inputs = Inputs(
            features=source,
            labels=batch_labels([column], ["batch"], source.shape[0]),
            feature_names=names,
            in_memory=not is_lazy(X),
        )
        with single_threaded_blas():
            plan = plan_run(inputs, parameters, engine.workers())
            examined = examine(engine, inputs, parameters, plan.tiling)
            fitted = fit(engine, inputs, parameters, plan, examined)
        self._learn(fitted, X)
        return fitted

    def _parameters(self) -> Parameters:
        given = self.get_params(deep=False)
        state = given.pop("random_state")
        seed = state if _is_integer(state) else _drawn_seed(state)
        plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in given.items()}
        return Parameters(**plain, seed=int(seed))

    def _learn(self, fitted: Fit, X: Any) -> None:
        sampled = fitted.sampled
        self.sampled_rows_ = sampled.rows
        scales = np.sqrt(np.concatenate([block.scales for block in sampled.blocks]))
        self.scales_ = scales * fitted.scores.projection.unit
        bins = np.concatenate([block.thresholds for block in sampled.blocks])
        self.thresholds_ = bins / BINS_PER_UNIT
        self.coverage_ = sampled.coverage.coverage
        self.coverage_curve_ = np.array(
            [(point.n_sampled, point.n_covered) for point in sampled.curve]
        )
        self.stop_reason_ = sampled.stop_reason
        self.n_rounds_ = len(sampled.curve)
        self.batches_ = np.array(fitted.inputs.labels.names, dtype=object)
        self.n_features_in_ = fitted.inputs.features.shape[1]
        if isinstance(X, pd.DataFrame) and all(isinstance(name, str) for name in X.columns):
            self.feature_names_in_ = np.array(X.columns, dtype=object)


def correct_batches(X: Any, batch: Any, **params: Any) -> Any:
    """Correct profiles in one call.

    Parameters
    ----------
    X : ndarray, DataFrame, dask.array.Array or zarr.Array of shape (n_samples, n_features)
    batch : array-like of shape (n_samples,)
    **params
        Of ``Balans``.

    Returns
    -------
    corrected : ndarray or dask.array.Array of shape (n_samples, n_features)
    """
    return Balans(**params).fit_transform(X, batch=batch)


@contextmanager
def _engine() -> Iterator[Engine]:
    """Use the client of the caller, which stays open, or one for this call."""
    try:
        client = default_client()
    except ValueError:
        with embedded_client() as client:
            yield Engine(client)
    else:
        engine = Engine(client)
        try:
            yield engine
        finally:
            engine.release()


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _drawn_seed(state: Any) -> int:
    if not (state is None or isinstance(state, np.random.RandomState)):
        raise InvalidInputError(
            f"random_state must be a whole number, a RandomState or None, got {state!r}"
        )
    return int(check_random_state(state).randint(2**31))
