"""Is what affinities hold besides clusters independent exponential noise: the assumption tested."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from matplotlib.figure import Figure

from balans_dask import Balans
from balans_dask.workflows.mixture import Mixture
from benchmarks.harness.arrays import Floats, Ints
from benchmarks.harness.dense_operators import affinity_rows, batch_scales, squared_distances
from benchmarks.harness.embedded import REAL, Embedded, generated, real
from benchmarks.harness.experiment import Experiment, Setting
from benchmarks.harness.findings import Findings, median, spread
from benchmarks.harness.mixtures import SPREADS
from benchmarks.harness.pictures import COLOURS, grid
from benchmarks.harness.tables import lines

N_ANGLES = 4001
ABOVE = 1.02
"""The largest singular value of noise strays from the edge by less than that share."""
N_NEIGHBORS = 5
MATRICES = ("before the elbow", "kept", "landmark rows")
QUANTILES = np.linspace(0.0, 1.0, 41)
SURVIVAL = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""In units of the mean."""
RESIDUALS = ("label means", "low rank")
ENTRIES = {"zero_share": 3, "variation": 2, "ks_entries": 3, "outlier": 2}
MARKERS = ("o", "s", "^", "D", "v")


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a residual.

    Attributes
    ----------
    values : ndarray
        In decreasing order, in units of the entries' standard deviation times the square root of
        the longer side.
    shape : tuple of int
        Rows and columns that the law is of.
    n_outside : int
        Values above the edge of the law, or that were removed because they were.
    energy_outside : float
        Share of these in the sum of squares.
    """

    values: Floats
    shape: tuple[int, int]
    n_outside: int
    energy_outside: float

    def distance(self) -> float:
        """Kolmogorov-Smirnov distance of the values to the law."""
        places, below = law(self.shape)
        values = np.sort(self.values)
        expected = np.interp(values, places, below, left=0.0, right=1.0)
        steps = np.arange(len(values) + 1) / len(values)
        return float(max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max()))


def law(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Distribution function of the singular values of noise.

    Marchenko and Pastur's law of independent entries with mean 0 and variance 1, of singular
    values over the square root of the longer side. Of a square matrix that is the quarter circle
    on [0, 2], which absolute eigenvalues of the Gaussian orthogonal ensemble follow too.

    Gives singular values, and the share of them that is below.
    """
    ratio = min(shape) / max(shape)
    angles = np.linspace(np.pi, 0.0, N_ANGLES)
    half_width = 2 * np.sqrt(ratio)
    squares = 1 + ratio + half_width * np.cos(angles)
    # The law's density in terms of the angle: no edge is singular there.
    density = (half_width * np.sin(angles)) ** 2 / np.maximum(squares, 1e-12)
    steps = (density[1:] + density[:-1]) / 2
    below = np.concatenate([[0.0], np.cumsum(steps)])
    return np.sqrt(np.maximum(squares, 0.0)), below / below[-1]


def edge(shape: tuple[int, int]) -> float:
    """Largest singular value of the law."""
    return 1 + float(np.sqrt(min(shape) / max(shape)))


def _singular_values(matrix: Floats) -> Floats:
    """All singular values, in decreasing order."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    squares = scipy.linalg.eigvalsh(wide @ wide.T)
    return np.sqrt(np.maximum(squares, 0.0))[::-1]


def block_means(matrix: Floats, row_label: Ints, column_label: Ints, own: Floats) -> Floats:
    """Mean of every pair of labels, laid out as a matrix; rows' own entries are left out.

    ``own`` is the column of every row itself, whose affinity is 1 by definition.
    """
    n_labels = column_label.max() + 1
    left, right = (np.eye(n_labels)[each] for each in (row_label, column_label))
    counted = np.ones_like(matrix)
    counted[np.arange(len(matrix)), own] = 0.0
    sums, counts = (left.T @ each @ right for each in (matrix * counted, counted))
    means = sums / np.maximum(counts, 1.0)
    return means[row_label][:, column_label]


def _scaled(values: Floats, shape: tuple[int, int]) -> Floats:
    return values / np.sqrt((values**2).sum() / min(shape))


def spectrum_of(residual: Floats) -> Spectrum:
    """Take all singular values of a residual, in units of its own deviation."""
    values = _scaled(_singular_values(residual), residual.shape)
    outside = values > ABOVE * edge(residual.shape)
    energy = float((values[outside] ** 2).sum() / (values**2).sum())
    return Spectrum(values, residual.shape, int(outside.sum()), energy)


def low_rank_removed(matrix: Floats) -> Spectrum:
    """Remove singular values until none lies above the edge of the noise that the others make."""
    found, (rows, columns) = _singular_values(matrix), matrix.shape
    total = float((found**2).sum())
    for rank in range(len(found)):
        shape = (rows - rank, columns - rank)
        values = _scaled(found[rank:], shape)
        if values[0] <= ABOVE * edge(shape):
            break
    return Spectrum(values, shape, rank, float((found[:rank] ** 2).sum() / total))


def measure(findings: Findings, setting: Setting) -> None:
    """Measure every matrix of every data set."""
    for seed in setting.sizes["seeds"]:
        for name, given in _data(setting, seed):
            matrices = functools.cache(partial(_matrices, given, seed))
            label = np.unique(given.label, return_inverse=True)[1]
            for matrix in MATRICES:
                run = partial(_of_matrix, matrices, matrix, label, seed)
                findings.measure({"data": name, "matrix": matrix, "seed": seed}, run)


def _data(setting: Setting, seed: int) -> Iterator[tuple[str, Embedded]]:
    for name, apart in SPREADS.items():
        mixture = Mixture(setting.sizes["rows"], cluster_spread=apart, seed=seed)
        yield f"mixture, {name}", generated(mixture)
    if setting.data is not None:
        for name in setting.sizes["real"]:
            yield name, real(REAL[name], setting.data)


def _matrices(given: Embedded, seed: int) -> dict[str, tuple[Floats, Ints]]:
    """Every matrix, with the rows of which it is."""
    everywhere = np.arange(len(given.rows))
    squared = squared_distances(given.rows, everywhere)
    scales = batch_scales(squared, everywhere, given.batch, N_NEIGHBORS)
    dense = affinity_rows(squared, everywhere, scales)
    model = Balans.paper(n_neighbors=N_NEIGHBORS, n_components=None, random_state=seed)
    landmarks = model.fit(given.rows, batch=given.batch).sampled_rows_
    return {
        "before the elbow": (np.exp(-dense.u), everywhere),
        "kept": (dense.kept, everywhere),
        "landmark rows": (dense.kept[landmarks], landmarks),
    }


def _of_matrix(
    matrices: Callable[[], dict[str, tuple[Floats, Ints]]], name: str, label: Ints, seed: int
) -> dict[str, Any]:
    matrix, rows = matrices()[name]
    rng = np.random.default_rng([seed, 9])
    residual = _residual(matrix, label, rows)
    observed = spectrum_of(residual)
    spectra = {
        "label means": observed,
        "low rank": low_rank_removed(matrix),
        "shuffled": spectrum_of(rng.permuted(residual.ravel()).reshape(residual.shape)),
    }
    noise = rng.exponential(size=matrix.shape)
    spectra["exponential, label means"] = spectrum_of(_residual(noise, label, rows))
    spectra["exponential, low rank"] = low_rank_removed(noise)
    between = matrix[label[rows][:, None] != label]
    found = {"shape": list(matrix.shape), "quantiles": _quantiles(observed)}
    found |= {which: _figures(spectrum) for which, spectrum in spectra.items()}
    return found | _entries(between) | {"outlier": _outlier(matrix, label, rows, between.mean())}


def _residual(matrix: Floats, label: Ints, rows: Ints) -> Floats:
    residual = matrix - block_means(matrix, label[rows], label, rows)
    residual[np.arange(len(rows)), rows] = 0.0
    return residual


def _figures(spectrum: Spectrum) -> dict[str, float]:
    return {
        "ks": round(spectrum.distance(), 5),
        "n_outside": spectrum.n_outside,
        "energy_outside": round(spectrum.energy_outside, 5),
    }


def _quantiles(spectrum: Spectrum) -> list[float]:
    return np.quantile(spectrum.values, QUANTILES).round(5).tolist()


def _entries(entries: Floats) -> dict[str, Any]:
    in_order, mean = np.sort(entries), float(entries.mean())
    steps = np.arange(len(entries) + 1) / len(entries)
    expected = -np.expm1(-in_order / mean)
    # Before an entry, and with all that are equal to it: 0 is often there.
    above = np.searchsorted(in_order, in_order, side="right") / len(entries)
    before = steps[np.searchsorted(in_order, in_order, side="left")]
    return {
        "mean": mean,
        "zero_share": round(float((entries == 0).mean()), 5),
        "variation": round(float(entries.std() / mean), 4),
        "ks_entries": round(float(max((above - expected).max(), (expected - before).max())), 5),
        "survival": [float((entries > times * mean).mean()) for times in SURVIVAL],
    }


def _outlier(matrix: Floats, label: Ints, rows: Ints, mean: float) -> float:
    """Largest singular value of the matrix with its blocks lowered, over what its mean predicts."""
    inside = label[rows][:, None] == label
    means = block_means(matrix, label[rows], label, rows)
    lowered = matrix - np.where(inside, means - mean, 0.0)
    lowered[np.arange(len(rows)), rows] = mean
    largest = scipy.sparse.linalg.svds(lowered, k=1, return_singular_vectors=False, rng=0)[0]
    return round(float(largest / (mean * np.sqrt(matrix.size))), 4)


def tables(findings: Findings) -> list[str]:
    """Write the spectra, then the entries."""
    head = ["data", "matrix", "rows x columns", "KS, label means", "shuffled", "i.i.d. exponential",
            "outside", "of the sum of squares", "KS, low rank", "i.i.d. exponential",
            "removed", "of the sum of squares"]  # fmt: skip
    spectra = lines(head, [_spectra(*case, findings) for case in _cases(findings)])
    head = ["data", "matrix", "entries that are 0", "coefficient of variation", "KS of entries",
            "outlier"]  # fmt: skip
    entries = [
        [*case, *(spread(_values(findings, case, name), n) for name, n in ENTRIES.items())]
        for case in _cases(findings)
    ]
    return [
        f"## Singular values: median (range) over seeds {_seeds(findings)}\n",
        spectra,
        f"## Entries between labels, and the outlier: over seeds {_seeds(findings)}\n",
        lines(head, entries),
    ]


def _spectra(data: str, matrix: str, findings: Findings) -> list[str]:
    runs = findings.of(data=data, matrix=matrix)
    cells = [data, matrix, " x ".join(f"{side:,}" for side in runs[0]["shape"])]
    for residual in RESIDUALS:
        shuffled = ["shuffled"] if residual == "label means" else []
        which = (residual, *shuffled, f"exponential, {residual}")
        cells += [spread([run[each]["ks"] for run in runs], 3) for each in which]
        cells.append(spread([run[residual]["n_outside"] for run in runs], 0))
        cells.append(f"{median([run[residual]['energy_outside'] for run in runs]):.0%}")
    return cells


def picture(findings: Findings) -> Figure:
    """Draw the spectra of both shapes of matrix, the distances to the law, and the entries."""
    figure, (square, wide, distances, entries) = grid(4, 2)
    names = findings.each("data")
    for axis, matrix in ((square, "kept"), (wide, "landmark rows")):
        _spectra_panel(axis, findings, matrix, names)
    _distances_panel(distances, findings, names)
    _entries_panel(entries, findings, names)
    handles, labels = square.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        "Residual affinities against independent exponential noise "
        f"\n(first seed; KS distances: median and range over seeds {_seeds(findings)})",
        fontsize=11,
    )
    return figure


def _spectra_panel(axis: Any, findings: Findings, matrix: str, names: list[str]) -> None:
    reach = 0.0
    for name, colour in zip(names, COLOURS, strict=False):
        run = findings.of(data=name, matrix=matrix)[0]
        places, below = law(tuple(run["shape"]))
        expected = np.interp(QUANTILES, below, places) / edge(tuple(run["shape"]))
        seen = np.array(run["quantiles"]) / edge(tuple(run["shape"]))
        axis.plot(expected, seen, color=colour, lw=1.6, label=name)
        reach = max(reach, np.quantile(seen, 0.95))
    axis.axline((0, 0), slope=1, color="black", ls="--", lw=1, label="the law of noise")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, min(max(1.1, 1.3 * reach), 2.0))
    axis.set_xlabel("quantile of noise / its edge")
    axis.set_ylabel("quantile of singular values / edge")
    which = "quarter circle" if matrix == "kept" else "Marchenko-Pastur"
    axis.set_title(f"{matrix}: {which}", fontsize=9)


def _distances_panel(axis: Any, findings: Findings, names: list[str]) -> None:
    kinds = {"label means": "label means", "low rank": "low rank", "shuffled": "shuffled entries",
             "exponential, label means": "i.i.d. exponential"}  # fmt: skip
    for (which, text), marker, colour in zip(kinds.items(), MARKERS, ("k", "k", "0.5", "0.5"),
                                             strict=False):  # fmt: skip
        found = [[run[which]["ks"] for run in findings.of(data=name, matrix="kept")]
                 for name in names]  # fmt: skip
        middle = np.array([median(each) for each in found])
        bars = [middle - [min(each) for each in found], [max(each) for each in found] - middle]
        filled = "none" if which == "low rank" else colour
        axis.errorbar(middle, np.arange(len(names)), xerr=bars, fmt=marker, ms=6, color=colour,
                      mfc=filled, capsize=3, label=text)  # fmt: skip
    axis.set_yticks(np.arange(len(names)), names)
    axis.set_ylim(len(names) + 0.4, -0.5)
    axis.set_xscale("log")
    axis.set_xlabel("KS distance to the quarter circle")
    axis.set_title("misfit of all singular values, kept affinities", fontsize=9)
    axis.legend(fontsize=7, loc="lower center", ncols=2, frameon=False)


def _entries_panel(axis: Any, findings: Findings, names: list[str]) -> None:
    for name, colour in zip(names, COLOURS, strict=False):
        for matrix, style in (("kept", "-"), ("before the elbow", ":")):
            run = findings.of(data=name, matrix=matrix)[0]
            shares = np.array(run["survival"], dtype=float)
            shares[shares == 0] = np.nan
            axis.plot(SURVIVAL, shares, style, marker=".", color=colour)
    for which, style in (("kept", "-"), ("before the elbow", ":"), ("exponential", "--")):
        axis.plot([], [], style, color="black", label=which)
    places = np.geomspace(SURVIVAL[0], 12, 100)
    axis.plot(places, np.exp(-places), "k--", lw=1)
    axis.legend(fontsize=7, loc="lower left", frameon=False)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(1e-5, 1.3)
    axis.set_xlabel("affinity in units of its mean")
    axis.set_ylabel("share of entries above")
    axis.set_title("entries between labels", fontsize=9)


def _cases(findings: Findings) -> list[tuple[str, str]]:
    return [(data, matrix) for data in findings.each("data") for matrix in MATRICES]


def _values(findings: Findings, case: tuple[str, str], name: str) -> list[float]:
    return findings.values(name, data=case[0], matrix=case[1])


def _seeds(findings: Findings) -> str:
    return ", ".join(str(seed) for seed in findings.record["options"]["sizes"]["seeds"])


EXPERIMENT = Experiment(
    name="noise_model",
    sizes={
        "tiny": {"rows": 240, "seeds": [0], "real": []},
        "small": {"rows": 1200, "seeds": [0, 1], "real": list(REAL)},
        "full": {"rows": 4000, "seeds": [0, 1], "real": list(REAL)},
    },
    measure=measure,
    tables=tables,
    picture=picture,
)
