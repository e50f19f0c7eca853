"""The evidence of the rows: one sweep over landmarks and rows, and what it says of their pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from balans_dask.kernels.displace import BatchSums, merge_batch_sums
from balans_dask.kernels.evidence import BatchUnits, least_elsewhere, pair_sums
from balans_dask.passes.engine import Engine, Future, task
from balans_dask.passes.profiles import Landmarks, PartitionAffinities
from balans_dask.passes.projection import array_sum
from balans_dask.passes.scores import Scores, as_tiles
from balans_dask.tiling import TILE_ROWS, tree_sum

__all__ = ["Evidence", "batch_sums_combine", "find_evidence", "rows_met", "sum_pairs"]


@dataclass(frozen=True)
class Evidence:
    """Driver's handle on every row's best match in another batch.

    Attributes
    ----------
    units : Future of BatchUnits
    least : list over partitions of Future of ndarray of shape (n_rows,), float64
        e*_j.
    """

    units: Future
    least: list[Future]

    def arguments(self, partition: int) -> list[Any]:
        """Return what a task hands to ``PartitionAffinities.weights``."""
        return [self.units, self.least[partition]]


def find_evidence(
    engine: Engine, scores: Scores, landmarks: Landmarks, units: BatchUnits
) -> Evidence:
    """Measure all rows' best matches; they stay on the workers."""
    shared, n = engine.share("units", units), len(scores.partitions)
    sources, tables = scores.tiles_sources(), [landmarks.table] * n
    least = engine.map("matches", _least_chunk, sources, tables, [shared] * n)
    engine.wait(least)
    return Evidence(shared, least)


def sum_pairs(
    engine: Engine, scores: Scores, landmarks: Landmarks, evidence: Evidence
) -> BatchSums:
    """Bring to the driver the sums of A E, A and A / sum_i A of every landmark and batch.

    Returns
    -------
    sums : BatchSums
        Of three columns; the first two without the landmarks themselves.
    """
    return _reduced(engine, "pairs", _pairs_chunk, scores, landmarks, evidence)


def rows_met(
    engine: Engine, scores: Scores, landmarks: Landmarks, evidence: Evidence, power: float
) -> BatchSums:
    """Count every batch's rows that meet others: the sum of min(1, sum_i A E^power).

    Returns
    -------
    sums : BatchSums
        Of one column, as of a single landmark.
    """
    return _reduced(engine, "met", _met_chunk, scores, landmarks, evidence, power)


def _reduced(
    engine: Engine,
    name: str,
    body: Any,
    scores: Scores,
    landmarks: Landmarks,
    evidence: Evidence,
    *constants: Any,
) -> BatchSums:
    numbers = range(len(scores.partitions))
    leaves = engine.leaves(
        name,
        body,
        scores.tiles_sources(),
        map(landmarks.arguments, numbers),
        map(evidence.arguments, numbers),
        *([value] * len(numbers) for value in constants),
    )
    sums: BatchSums = engine.take(
        [engine.reduce(f"{name}-merge", leaves, batch_sums_combine, arity=2)]
    )[0]
    return sums


@task
def batch_sums_combine(parts: Sequence[BatchSums]) -> BatchSums:
    """Sum consecutive nodes of one level."""
    return tree_sum(parts, merge_batch_sums)


@task
def _least_chunk(tiles_source: Any, blocks: Any, units: BatchUnits) -> NDArray[np.float64]:
    return least_elsewhere(as_tiles(tiles_source), blocks, units)


@task
def _pairs_chunk(tiles_source: Any, landmarks: Sequence[Any], evidence: Sequence[Any]) -> BatchSums:
    part = PartitionAffinities(tiles_source, landmarks)
    batches = part.tiles.batches[part.tiles.reference_batches]
    rows = np.concatenate([block.rows for block in part.blocks])
    total = array_sum()
    for tile in range(part.tiles.n_tiles):
        of_tile = np.zeros((len(batches), part.n_landmarks, 3))
        affinities = part.affinities(tile)
        confirmed = part.weights(tile, affinities, evidence, 1.0)
        own = rows - part.tiles.start - tile * TILE_ROWS
        own = np.where((own >= 0) & (own < TILE_ROWS), own, -1)
        pair_sums(affinities, confirmed, own, part.batches(tile)[1], of_tile)
        total.push(of_tile)
    return BatchSums(batches, total.total())


@task
def _met_chunk(
    tiles_source: Any, landmarks: Sequence[Any], evidence: Sequence[Any], power: float
) -> BatchSums:
    part = PartitionAffinities(tiles_source, landmarks)
    batches = part.tiles.batches[part.tiles.reference_batches]
    total = array_sum()
    for tile in range(part.tiles.n_tiles):
        reference = part.batches(tile)[1]
        reach = np.zeros(len(reference))
        for rows in part.weights(tile, part.affinities(tile), evidence, power):
            reach += np.bincount(rows.columns, weights=rows.values, minlength=len(reach))
        counted = reference >= 0
        of_tile = np.zeros((len(batches), 1, 1))
        np.add.at(of_tile[:, 0, 0], reference[counted], np.minimum(reach, 1.0)[counted])
        total.push(of_tile)
    return BatchSums(batches, total.total())
