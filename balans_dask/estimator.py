"""The estimator: arrays in, arrays out, by scikit-learn's contract."""

from collections.abc import Callable, Sequence
from functools import wraps
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

import balans_dask.passes.workers  # noqa: F401  (notices forks from now on)
from balans_dask.errors import InvalidInputError
from balans_dask.parameters import PAPER

if TYPE_CHECKING:
    from balans_dask.model.frozen import Model

__all__ = ["Balans", "correct_batches"]


class _LazyOutputMixin:
    """Leave Dask arrays as they are, whatever ``set_output`` asks for: a table computes them.

    Stands before ``TransformerMixin``, whose containers it leaves out for lazy input.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("transform", "fit_transform"):
            if name in vars(cls):
                setattr(cls, name, _container_unless_lazy(vars(cls)[name]))


def _container_unless_lazy(in_container: Callable[..., Any]) -> Callable[..., Any]:
    as_computed = in_container.__wrapped__  # type: ignore[attr-defined]

    @wraps(as_computed)
    def method(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        from balans_dask.workflows.array_inputs import is_lazy

        chosen = as_computed if is_lazy(X) else in_container
        return chosen(self, X, *args, **kwargs)

    return method


class Balans(_LazyOutputMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Align batches by local affinities and subsampling (BALANS, arXiv 2601.22331).

    The fit takes the names of the features from a DataFrame. After
    ``set_output(transform="pandas")`` the result is a DataFrame, too, with the same columns and
    index. For tables that also hold metadata use ``correct_batches``.

    By default (``operator="align"``) every well is matched with similar wells on other plates. A
    match counts as far as the well has no better one there. The matches give the offset and the
    width of every plate, and then the local differences near each kind of well. Wells are moved by
    these and never averaged with others. Where plates do not share their treatments, few matches
    count, and the correction holds back.

    ``Balans.paper()`` is the published method, which smooths: X_hat = D^-1 A_S^T (A_S X). Both
    methods draw rows (landmarks) where few rows are covered yet, divide the distances of each by
    that to its k-th nearest neighbour *within each batch*, and keep Gaussian affinities up to the
    elbow.

    The current ``distributed.Client`` does the work if there is one, else this process. The result
    depends neither on that nor on chunks.

    Parameters
    ----------
    n_neighbors : int, default=5
        k of the paper: the neighbour whose distance is the local scale.
    patience : int, default=50
        tau of the paper: stop after this many consecutive rows that cover nothing new.
    stopping : {"share", "patience", "auto"} or None, default=None
        When no more rows are drawn. ``"share"``: once 99 % of the rows are covered, by 256
        landmarks at least, or patience ends. ``"patience"``: by patience alone, as the paper does.
        ``"auto"``: as soon as no population of a ten-thousandth of the rows is likely to be missed.
        ``None`` is ``"share"`` with ``align`` and ``"patience"`` with other operators.
    operator : {"align", "smooth", "nystrom", "displace"}, default="align"
        ``align`` moves batches as a whole and then locally, as far as the rows confirm that they
        hold the same populations. ``smooth`` is the paper's weighted mean, D^-1 A_S^T (A_S X).
        ``nystrom`` inserts the pseudo-inverse of A_SS. ``displace`` moves every profile by the
        local displacement of its batch.
    shared_populations : {"auto", True}, default="auto"
        ``True`` declares that every batch holds every population, as replicate plates of one
        layout do. All matches then count. ``"auto"`` estimates it from the rows, and holds back
        where batches seem to lack populations of others. Only with ``align``.
    strength : float, default=1.0
        Share of the correction in the output, from 0 to 1; the rest is the input.
    block_rows : int or None, default=None
        Rows drawn before coverage is updated; 1 is the paper's sequential loop. ``None`` is 256
        with ``align`` and 64 with other operators.
    coverage_tol : float, default=0.0
        A row is idle if it covers at most this share of all rows anew.
    max_rows : int or None, default=None
        Draw at most this many rows.
    n_components : int or None, default=50
        Principal components of the standardised features in which distances are taken; ``None``
        if ``X`` is an embedding already.
    max_scale_ratio : float, "auto" or None, default="auto"
        Limit of a row's local scales in units of its smallest, so that populations missing from a
        batch are not matched; ``"auto"`` takes it from the spread of the data, ``None`` is the
        paper. ``align`` asks the rows instead: it has no limit, and refuses a number.
    max_neighbors : int or None, default=None
        A row of the affinity matrix keeps at most this many entries.
    uncovered : {"offset", "nearest", "keep"} or None, default=None
        Rows that no landmark covers move with their batch as a whole (``"offset"``, with ``align``
        only), follow the nearest landmark, or stay as they are. ``None`` is ``"offset"`` with
        ``align`` and ``"nearest"`` with other operators.
    n_passes : int or None, default=None
        How often the correction is fitted and applied, each time to the last result. With
        ``align`` it counts the local steps, which follow one step of offsets and one of widths.
        ``None`` is 2 with ``align`` and 1 with other operators.
    fit_rows : int, "all" or None, default=None
        Number of rows that ``align`` learns from. They are drawn by ``random_state``, as many from
        every batch, and at least 512 where a batch has them. All rows are corrected. ``None`` is
        100,000. Other operators learn from all rows.
    random_state : int, RandomState instance or None, default=0
        Seed of the draws.
    verbose : bool, default=False
        Show progress: bars in a notebook and on a terminal, else a line every 30 s.
    correct_single_batch : bool, default=False
        Smooth the rows of a single batch too, as the paper would. By default they stay as they are
        with every operator, because there is nothing to align them to.

    Attributes
    ----------
    model_ : Model
        All that ``transform`` needs. The attributes below describe its last pass, which with
        ``align`` is its last step.
    sampled_rows_ : ndarray of shape (n_landmarks,), int64
        Landmarks in draw order.
    scales_ : ndarray of shape (n_landmarks, n_batches), float64
        Local scale of every landmark in every batch, in units of the scores.
    thresholds_ : ndarray of shape (n_landmarks,), float64
        Affinities of u = d^2 / sigma^2 at or above this are dropped.
    coverage_ : ndarray of shape (n_samples,), float64
        Sum of the kept affinities of every row; NaN for rows outside ``fit_rows``.
    coverage_curve_ : ndarray of shape (n_rounds, 2), int64
        Rows sampled and rows covered after every round, of the ``fit_rows``.
    n_capped_ : int
        Landmarks with a scale beyond the limit that ``max_scale_ratio`` sets; 0 with ``align``.
    stop_reason_ : {"share", "patience", "auto", "all_rows", "max_rows"}
    rho_ : float or None
        How far batches share populations: 1 if rows match those of other batches as well as those
        of their own, 0 if they never do. Only of ``align``; 0 for a single batch.
    kappa_ : float or None
        How far ``align`` trusts matches that the rows do not confirm: 0 up to a ``rho_`` of 0.5,
        0.75 at most, 1 with ``shared_populations=True``.
    n_rounds_ : int
    batches_ : ndarray of shape (n_batches,), object
        Labels in the order of the columns of ``scales_``.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,), object
        Only if ``X`` is a DataFrame, whose columns must then have text names.

    See Also
    --------
    correct_batches : The same as one function.

    Notes
    -----
    Cost: O(n m p) time for m landmarks and p components, three matrix products a round of
    ``block_rows`` landmarks, in each pass or step; no dense array larger than a partition.
    ``align`` also solves one system of n_batches equations a step, O(n_batches^3).

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
        stopping: Literal["share", "patience", "auto"] | None = None,
        operator: Literal["align", "smooth", "nystrom", "displace"] = "align",
        shared_populations: Literal["auto", True] = "auto",
        strength: float = 1.0,
        block_rows: int | None = None,
        coverage_tol: float = 0.0,
        max_rows: int | None = None,
        n_components: int | None = 50,
        max_scale_ratio: float | Literal["auto"] | None = "auto",
        max_neighbors: int | None = None,
        uncovered: Literal["offset", "nearest", "keep"] | None = None,
        n_passes: int | None = None,
        fit_rows: int | Literal["all"] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
        correct_single_batch: bool = False,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.patience = patience
        self.stopping = stopping
        self.operator = operator
        self.shared_populations = shared_populations
        self.strength = strength
        self.block_rows = block_rows
        self.coverage_tol = coverage_tol
        self.max_rows = max_rows
        self.n_components = n_components
        self.max_scale_ratio = max_scale_ratio
        self.max_neighbors = max_neighbors
        self.uncovered = uncovered
        self.n_passes = n_passes
        self.fit_rows = fit_rows
        self.random_state = random_state
        self.verbose = verbose
        self.correct_single_batch = correct_single_batch

    @classmethod
    def paper(cls, **params: Any) -> Self:
        """Make the estimator of the published method, to reproduce the paper or compare with it.

        It smooths (``operator="smooth"``), stops after 50 idle rows (``stopping="patience"``,
        ``patience=50``), fits once (``n_passes=1``), limits no scale (``max_scale_ratio=None``),
        and smooths a single batch too (``correct_single_batch=True``).

        Parameters
        ----------
        **params
            Further ones of ``Balans``; they win over those above.

        Returns
        -------
        model : Balans
            Not fitted.
        """
        return cls(**{**PAPER, **params})

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        batch: ArrayLike | None = None,
        anchor: ArrayLike | None = None,
        controls: ArrayLike | None = None,
    ) -> Self:
        """Sample the landmarks of some profiles.

        Parameters
        ----------
        X : ndarray, DataFrame, dask.array.Array or zarr.Array of shape (n_samples, n_features)
            Profiles; finite numbers.
        y : array-like of shape (n_samples,), or None
            Labels that should stay apart, such as treatments. They do not change the result. A
            warning tells where they are confounded with batches.
        batch : array-like of shape (n_samples,) or (n_samples, n_keys), or None
            Label of every row, as text or number. Several columns, as ``df[["plate", "day"]]``,
            make joint batches, one for every combination that occurs. ``None`` is a single batch,
            which is not changed.
        anchor : array-like of shape (n_samples,), bool, or None
            Rows, such as controls, on which scales, displacements and the standardisation are
            estimated, for all; with ``operator`` ``"align"`` or ``"displace"``. ``None`` takes all
            rows.
        controls : array-like of shape (n_samples,), bool, or None
            Rows, such as untreated wells of all batches, whose Ledoit-Wolf covariance whitens all
            rows after the correction. ``None`` does not whiten.

        Returns
        -------
        self : Balans

        Raises
        ------
        InvalidInputError
            If values, labels or parameters cannot be used.
        """
        self._fit(X, y, batch, anchor, controls, wanted=False)
        return self

    def fit_transform(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        batch: ArrayLike | None = None,
        anchor: ArrayLike | None = None,
        controls: ArrayLike | None = None,
    ) -> Any:
        """Correct some profiles.

        Parameters
        ----------
        X : ndarray, DataFrame, dask.array.Array or zarr.Array of shape (n_samples, n_features)
            Profiles; finite numbers.
        y : array-like of shape (n_samples,), or None
            Labels that should stay apart, such as treatments. They do not change the result. A
            warning tells where they are confounded with batches.
        batch : array-like of shape (n_samples,) or (n_samples, n_keys), or None
            Label of every row, as text or number. Several columns, as ``df[["plate", "day"]]``,
            make joint batches, one for every combination that occurs. ``None`` is a single batch,
            which is not changed.
        anchor : array-like of shape (n_samples,), bool, or None
            Rows, such as controls, on which scales, displacements and the standardisation are
            estimated, for all; with ``operator`` ``"align"`` or ``"displace"``. ``None`` takes all
            rows.
        controls : array-like of shape (n_samples,), bool, or None
            Rows, such as untreated wells of all batches, whose Ledoit-Wolf covariance whitens all
            rows after the correction. ``None`` does not whiten.

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
        return self._fit(X, y, batch, anchor, controls, wanted=True)

    def transform(
        self, X: ArrayLike, *, batch: ArrayLike | None = None, anchor: ArrayLike | None = None
    ) -> Any:
        """Correct further profiles by the fitted model; earlier results do not change.

        Rows of a batch of the fit move as that batch did. A new batch gets local scales of its own
        from its rows in ``X``, and moves towards where the batches of the fit have met. What else
        ``X`` holds does not matter to rows of known batches.

        Parameters
        ----------
        X : ndarray, DataFrame, dask.array.Array or zarr.Array of shape (n_samples, n_features)
            Profiles with the features of the fit; finite numbers.
        batch : array-like of shape (n_samples,) or (n_samples, n_keys), or None
            Label of every row, of the fit or new, by as many keys as in the fit. ``None`` only
            after a fit without labels.
        anchor : array-like of shape (n_samples,), bool, or None
            Anchor rows, on which new batches are estimated; wanted where the fit had anchors.

        Returns
        -------
        corrected : ndarray or dask.array.Array of shape (n_samples, n_features)
            As ``fit_transform`` returns it.

        Raises
        ------
        InvalidInputError
            If features or values do not fit the model.
        NotFittedError
            If there is no model yet.
        """
        from balans_dask.kernels._blas import single_threaded_blas
        from balans_dask.model.inputs import check_values
        from balans_dask.model.plan import plan_run
        from balans_dask.model.transform import number_batches
        from balans_dask.progress import reported
        from balans_dask.workflows.array_inputs import (
            NO_BATCH,
            check_features,
            current_engine,
            inputs_of,
            key_names,
            matrix_of,
        )
        from balans_dask.workflows.array_output import collector_of
        from balans_dask.workflows.arrays import transform_arrays

        check_is_fitted(self)
        model: Model = self.model_
        if model.n_embedding is not None:
            raise InvalidInputError(
                f"the model takes distances in an embedding ({model.record['basis']}) beside the "
                "features: correct stores that hold both by `balans transform`"
            )
        matrix = matrix_of(X, least_rows=1)
        check_features(self, X, fitting=False)
        with current_engine(matrix) as engine, reported(self.verbose) as tell, engine.telling(tell):
            if batch is None and model.batches != (NO_BATCH,):
                raise InvalidInputError(
                    f"the model was fitted on {len(model.batches)} batches: give batch="
                )
            model.require_keys(key_names(batch))
            inputs = number_batches(model, inputs_of(engine, X, batch, anchor))
            with single_threaded_blas():
                plan = plan_run(inputs, model.parameters, engine.workers(), model.sizes)
                inputs = check_values(engine, inputs, plan.tiling).held(inputs)
                return transform_arrays(engine, inputs, model, plan, collector_of(X))

    def save(self, path: str | PathLike[str], overwrite: bool = False) -> None:
        """Write the frozen model to a new Zarr group: JSON attributes and arrays, no code.

        Parameters
        ----------
        path : str or path
        overwrite : bool, default=False
            Replace a model that is there.

        Raises
        ------
        StoreExistsError
            If something is there.
        NotFittedError
            If there is no model yet.
        """
        from balans_dask.model.saved import save_model

        check_is_fitted(self)
        save_model(self.model_, str(path), overwrite)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a model that ``save`` or ``balans correct --model`` has written.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        model : Balans
            With everything that ``transform`` takes; what describes the rows of the fit, such as
            ``coverage_``, is not part of a model.

        Raises
        ------
        InvalidInputError
            If there is no model, or it cannot be read.
        """
        from balans_dask.model.saved import load_model
        from balans_dask.workflows.array_inputs import numbered_names

        model = load_model(str(path))
        given = model.parameters.as_dict()
        given["random_state"] = given.pop("seed")
        # Arrays have one key of batches, and a fit is told of its controls.
        given.pop("keys_in_turn")
        given.pop("sphering")
        estimator = cls(**given)
        estimator._take(model)
        estimator.n_features_in_ = len(model.feature_names)
        if model.feature_names != tuple(numbered_names(estimator.n_features_in_)):
            estimator.feature_names_in_ = np.array(model.feature_names, dtype=object)
        return estimator

    def _fit(
        self,
        X: Any,
        y: Any,
        batch: Any,
        anchor: Any,
        controls: Any,
        wanted: bool,
    ) -> Any:
        from balans_dask.progress import reported
        from balans_dask.workflows.array_inputs import (
            check_features,
            current_engine,
            inputs_of,
            key_names,
            matrix_of,
        )
        from balans_dask.workflows.array_output import collector_of
        from balans_dask.workflows.arrays import Asked, fit_inputs, parameters_of, sphered
        from balans_dask.workflows.confounding import labels_beside

        parameters = sphered(parameters_of(self.get_params(deep=False)), controls)
        matrix = matrix_of(X)
        check_features(self, X, fitting=True)
        with current_engine(matrix) as engine, reported(self.verbose) as tell, engine.telling(tell):
            inputs = inputs_of(engine, X, batch, anchor, controls)
            keys = key_names(batch)
            asked = Asked(
                batch_keys=keys if len(keys) > 1 else (),
                label=labels_beside(y, inputs.n_rows),
            )
            found = fit_inputs(engine, inputs, parameters, collector_of(X), wanted, asked)
        self.coverage_ = found.coverage
        self._take(found.model)
        return None if found.rows is None else found.rows.features

    def _take(self, model: "Model") -> None:
        from balans_dask.kernels.elbow import BINS_PER_UNIT

        last = model.passes[-1]
        self.model_ = model
        self.sampled_rows_ = np.concatenate([block.rows for block in last.blocks])
        scales = np.sqrt(np.concatenate([block.scales for block in last.blocks]))
        self.scales_ = scales * model.preprocessor.projection.unit
        bins = np.concatenate([block.thresholds for block in last.blocks])
        self.thresholds_ = bins / BINS_PER_UNIT
        self.coverage_curve_ = last.curve[:, :2]
        self.n_capped_ = last.n_capped
        self.stop_reason_ = last.stop_reason
        self.n_rounds_ = len(last.curve)
        self.rho_, self.kappa_ = (last.facts.get(name) for name in ("rho", "kappa"))
        self.batches_ = np.array(model.batches, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def correct_batches(
    X: ArrayLike,
    batch: str | Sequence[str] | ArrayLike,
    *,
    anchor: ArrayLike | None = None,
    controls: ArrayLike | None = None,
    **params: Any,
) -> Any:
    """Correct a DataFrame or an array of profiles in one call.

    A DataFrame is returned as one, with its metadata, its index and the order of its columns:
    ``correct_batches(df, batch="Metadata_Plate")``. The features are those of ``balans correct``,
    as float32: every numeric column but ``Metadata_*``, the batch, and integers that are named
    after plates, wells and the like. That command gives the same numbers for the table in a file.

    Parameters
    ----------
    X : DataFrame, ndarray, dask.array.Array or zarr.Array of shape (n_samples, n_columns)
    batch : str, list of str, or array-like of shape (n_samples,) or (n_samples, n_keys)
        The column of a DataFrame with the batch, or several for joint batches; or the labels, as
        ``Balans.fit`` takes them.
    anchor, controls : array-like of shape (n_samples,), bool, or None
        As ``Balans.fit`` takes them.
    **params
        Of ``Balans``.

    Returns
    -------
    corrected : DataFrame, ndarray or dask.array.Array
        Of the shape of ``X``; lazy, if ``X`` is a Dask or Zarr array.

    Raises
    ------
    InvalidInputError
        If a column is missing, no column is a feature, or ``Balans.fit`` refuses the values.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from balans_dask import correct_batches
    >>> rng = np.random.default_rng(0)
    >>> df = pd.DataFrame({"Metadata_Plate": np.repeat(["p1", "p2"], 30)})
    >>> df[["Cells_1", "Cells_2"]] = rng.normal(size=(60, 2)).astype("float32")
    >>> corrected = correct_batches(df, batch="Metadata_Plate", n_components=2)
    >>> list(corrected.columns)
    ['Metadata_Plate', 'Cells_1', 'Cells_2']
    """
    from balans_dask.workflows.array_inputs import table_of

    model = Balans(**params)
    table = table_of(X, batch)
    if table is None:
        return model.fit_transform(X, batch=batch, anchor=anchor, controls=controls)
    found = model.fit_transform(table.features, batch=table.batch, anchor=anchor, controls=controls)
    return table.corrected(found)
