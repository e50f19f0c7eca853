"""What a run is asked to correct: its data, and their values examined once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from balans_dask.errors import (
    InvalidInputError,
    setting,
    warn_of_input,
)
from balans_dask.io.sources import RowSource
from balans_dask.kernels.projection import Moments
from balans_dask.labels import BatchLabels
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine
from balans_dask.passes.memory import MemoryPlan
from balans_dask.passes.projection import compute_moments
from balans_dask.passes.stage import EXAMINING, Stage
from balans_dask.tiling import Tiling

__all__ = [
    "CheckedInput",
    "Inputs",
    "check_input",
    "check_values",
    "components_of",
    "examining",
    "require_sizes",
    "warn_of_many_batches",
]

NAMED = 5
"""Names that a message lists before it goes on with an ellipsis."""


@dataclass(frozen=True)
class Inputs:
    """The data of a run.

    Attributes
    ----------
    features : RowSource
        What is corrected.
    labels : BatchLabels
    reference : ndarray of shape (n_rows,), bool, or None
        Rows from which scales and displacements are estimated; ``None`` for all.
    controls : ndarray of shape (n_rows,), bool, or None
        Rows by which a fit spheres all rows; ``None`` if it does not.
    feature_names : sequence of str
    embedding : RowSource or None
        Where distances are taken, if not in the features; corrected with the same weights.
    shard_tiles : int
        Tiles of a write unit of the output.
    in_memory : bool
        Input and output are numpy arrays on the driver.
    table_bytes : int
        Row annotations on the driver.
    """

    features: RowSource
    labels: BatchLabels
    feature_names: Sequence[str]
    embedding: RowSource | None = None
    shard_tiles: int = 1
    in_memory: bool = False
    table_bytes: int = 0
    reference: NDArray[np.bool_] | None = None
    controls: NDArray[np.bool_] | None = None

    @property
    def n_rows(self) -> int:
        """Number of profiles."""
        return self.features.shape[0]

    @property
    def matrices(self) -> list[RowSource]:
        """Everything that is corrected."""
        return [self.features] if self.embedding is None else [self.features, self.embedding]

    @property
    def scored(self) -> RowSource:
        """What the scores are made from."""
        return self.features if self.embedding is None else self.embedding

    @property
    def is_tied(self) -> bool:
        """Whether anchors, or controls of a sphering, are in every batch."""
        rows = self.controls if self.reference is None else self.reference
        return rows is not None and len(np.unique(self.labels.codes[rows])) == self.labels.n_batches

    def numbered(self, labels: BatchLabels, reference: NDArray[np.bool_] | None) -> "Inputs":
        """Return the same rows with batches numbered in another way."""
        return replace(self, labels=labels, reference=reference)

    def fit_sizes(self, parameters: Parameters) -> NDArray[np.int64] | None:
        """Count the rows of every batch on which a correction is fitted; ``None`` if on all."""
        labels = self.labels
        sizes = labels.sizes
        if self.reference is not None:
            sizes = np.bincount(labels.codes[self.reference], minlength=labels.n_batches)
        most = parameters.fit_rows_of(sizes.tolist())
        return None if most is None else np.minimum(sizes, most)

    def picked(self, rows: NDArray[np.int64]) -> "Inputs":
        """Return some rows, of batches that are as large as before."""
        labels = replace(self.labels, codes=self.labels.codes[rows])
        return replace(
            self,
            features=self.features.picked(rows),
            embedding=None if self.embedding is None else self.embedding.picked(rows),
            labels=labels,
            reference=None if self.reference is None else self.reference[rows],
            controls=None,
        )

    def moved(self, features: RowSource, embedding: RowSource | None = None) -> "Inputs":
        """Return the same rows as a pass has left them."""
        return replace(self, features=features, embedding=embedding)


def components_of(parameters: Parameters, inputs: Inputs) -> int | None:
    """Components of the PCA; ``None`` where distances are taken in an embedding."""
    return None if inputs.embedding is not None else parameters.n_components


def require_sizes(name: str, shape: tuple[int, int], least_rows: int = 2) -> None:
    """Refuse an input too small to align.

    Parameters
    ----------
    least_rows : int
        2 to fit, 1 to transform.

    Raises
    ------
    InvalidInputError
        If there are fewer rows than that, or no features.
    """
    for count, what, least in zip(shape, ("sample", "feature"), (least_rows, 1), strict=True):
        if count < least:
            raise InvalidInputError(
                f"{name} has {count} {what}(s) (shape={shape}) while a minimum of {least} is "
                f"required: give at least {least}"
            )


def warn_of_many_batches(labels: BatchLabels) -> None:
    """Say that a batch has hardly a row, before a plan is refused for so many batches."""
    if labels.nearly_unique:
        n_rows = len(labels.codes)
        warn_of_input(
            f"{n_rows:,} rows are in {labels.n_batches:,} batches, {n_rows / labels.n_batches:.3g} "
            "in each: a batch is a plate or a week of many wells, not a well, so choose another "
            f"{setting('batch')}"
        )


@dataclass(frozen=True)
class CheckedInput:
    """The values of the input, found usable.

    Attributes
    ----------
    features, scored : Moments
        Of the features, and of what the scores are made from (often the same).
    reference : Moments
        Of what the scores are made from, over the reference rows alone.
    """

    features: Moments
    scored: Moments
    reference: Moments

    def held(self, inputs: Inputs) -> Inputs:
        """Return what was examined, which may not change from now on.

        Raises
        ------
        InvalidInputError
            If chunks have gone meanwhile; and, of later reads, if rows are not as they were.
        """
        features, embedding = inputs.features.examined(self.features.checksums), None
        if inputs.embedding is not None:
            embedding = inputs.embedding.examined(self.scored.checksums)
        return inputs.moved(features, embedding)


def check_input(
    engine: Engine, inputs: Inputs, parameters: Parameters, tiling: Tiling
) -> CheckedInput:
    """Read all values once; refuse what cannot be corrected and warn of what is odd.

    Raises
    ------
    InvalidInputError
        If values are NaN or infinite, no feature varies, or none does among the controls.
    """
    examined = check_values(engine, inputs, tiling)
    if inputs.controls is not None:
        _require_varying(engine, inputs.features, inputs.controls, examined.features, tiling)
        if inputs.embedding is not None:
            _require_varying(engine, inputs.embedding, inputs.controls, examined.scored, tiling)
    if inputs.reference is not None:
        reference = compute_moments(engine, tiling, inputs.scored, inputs.reference)
        examined = replace(examined, reference=reference)
    constant = examined.reference.constant
    if constant.all():
        where = "" if inputs.reference is None else " among the anchors"
        raise InvalidInputError(
            f"all {len(constant)} features are constant{where}: give at least one that varies"
        )
    _warn_of_oddities(examined.features, inputs, parameters)
    return examined


def _require_varying(
    engine: Engine,
    source: RowSource,
    controls: NDArray[np.bool_],
    of_all: Moments,
    tiling: Tiling,
) -> None:
    """Refuse controls that are all alike, before they are corrected."""
    among = compute_moments(engine, tiling, source, controls)
    if among.constant.all() and not of_all.constant.all():
        raise InvalidInputError(
            f"the {among.n_rows} controls of the sphering are all alike: name controls that vary, "
            "or leave out the sphering"
        )


def examining(plan: MemoryPlan) -> Stage:
    """Return the stage of a run in which all values are read once."""
    return Stage(EXAMINING, n_total=plan.tiling.n_partitions)


def check_values(engine: Engine, inputs: Inputs, tiling: Tiling) -> CheckedInput:
    """Read all values once; refuse what no model can correct.

    Raises
    ------
    InvalidInputError
        If values are NaN or infinite.
    """
    features = compute_moments(engine, tiling, inputs.features)
    _require_finite(features, inputs.feature_names)
    scored = features
    if inputs.embedding is not None:
        scored = compute_moments(engine, tiling, inputs.embedding)
        _require_finite(scored, [f"embedding column {i}" for i in range(len(scored.total))])
    return CheckedInput(features, scored, scored)


def _require_finite(moments: Moments, names: Sequence[str]) -> None:
    bad = np.flatnonzero(moments.n_bad)
    if len(bad):
        listed = ", ".join(str(names[i]) for i in bad[:NAMED])
        more = ", ..." if len(bad) > NAMED else ""
        raise InvalidInputError(
            f"{moments.n_bad_rows} of {moments.n_rows} rows hold NaN or infinite values in "
            f"{len(bad)} features ({listed}{more}): drop or impute these features or rows"
        )


def _warn_of_oddities(features: Moments, inputs: Inputs, parameters: Parameters) -> None:
    n_constant = int(features.constant.sum())
    if n_constant:
        names = [str(inputs.feature_names[i]) for i in np.flatnonzero(features.constant)[:NAMED]]
        more = ", ..." if n_constant > NAMED else ""
        warn_of_input(
            f"{n_constant} of {len(features.constant)} features are constant "
            f"({', '.join(names)}{more}): they take no part in distances and stay as they are"
        )
    labels = inputs.labels
    if labels.n_batches == 1:
        stays = not parameters.correct_single_batch
        fate = "so they stay as they are" if stays else "but the paper smooths them all the same"
        rest = "" if parameters.sphering is None else ", and all rows are sphered"
        warn_of_input(
            f"all {inputs.n_rows} rows are of one batch ({labels.names[0]}): nothing to align, "
            f"{fate}{rest}; if they are of several, say which by {setting('batch')}"
        )
        if stays:
            return
    clamped = labels.clamped(parameters.n_neighbors)
    if clamped and not labels.nearly_unique:
        more = ", ..." if len(clamped) > NAMED else ""
        warn_of_input(
            f"{len(clamped)} of {labels.n_batches} batches have at most {parameters.n_neighbors} "
            f"rows ({', '.join(clamped[:NAMED])}{more}): their local scale is the distance to "
            "their farthest row"
        )
