"""Whether batches share populations, as ``align`` has found it, in a user's words.

rho compares matches of rows across batches with those within, and kappa follows from it; a record
has both of every step (``balans_dask.kernels.align``).
"""

from collections.abc import Callable, Mapping
from typing import Any

from balans_dask.errors import setting, warn_of_input
from balans_dask.kernels.align import LEAST_SHARED, MOST_KAPPA
from balans_dask.labels import BatchLabels
from balans_dask.model.fit import limited_landmarks
from balans_dask.workflows.confounding import NegativeControls

__all__ = ["MEANING", "held_back", "said_of_unshared", "sharing_facts", "warn_of_fit"]

MEANING = (
    "rho says whether batches share treatments: it is 1 where rows match those of other batches as "
    "well as those of their own, and 0 where they never do, be it that treatments are missing or "
    "that batches differ near each treatment in ways of their own. A match between batches counts "
    "as far as the rows confirm it, as no better one is to be had; kappa is how far other matches "
    f"are trusted: not at all up to a rho of {LEAST_SHARED}, by {MOST_KAPPA} at most, and wholly "
    "where the user says that every batch holds every treatment."
)


def sharing_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """Say what rho and kappa of the last step are; nothing where no batches were compared.

    Parameters
    ----------
    record : mapping
        Of a correction; of one by a model, ``batches`` are those of the rows, not of the fit.
    """
    alone = len(record["batches"]) == 1 and "model" not in record
    if "rho" not in record or alone:
        return {}
    rho, kappa = float(record["rho"]), float(record["kappa"])
    trusted = f"trusted by {kappa:.2f} (kappa, of at most {MOST_KAPPA})"
    if kappa in (0.0, 1.0):
        trusted = f"{'trusted' if kappa else 'held back'} (kappa {kappa:.0f})"
    return {
        "treatments shared between batches": f"{rho:.2f} (rho, from 0 to 1)",
        "matches that rows do not confirm": trusted,
    }


def warn_of_fit(
    record: Mapping[str, Any],
    labels: BatchLabels,
    told: bool,
    find_controls: Callable[[], NegativeControls | None] = lambda: None,
) -> None:
    """Say after a fit what its last step could not match.

    Parameters
    ----------
    record : mapping
        Of a correction, or the facts of its last step.
    told : bool
        What is shared was said before, or controls tie the batches.
    find_controls : callable
        Asked only where they could help.
    """
    unshared = "" if told else said_of_unshared(record, labels, find_controls)
    limited = limited_landmarks(int(record["n_capped"]), int(record["n_sampled"]))
    for said in filter(None, (limited, unshared)):
        warn_of_input(said)


def held_back(record: Mapping[str, Any], labels: BatchLabels) -> str:
    """Say that ``align`` held back, and why; empty where it did not.

    Parameters
    ----------
    record : mapping
        Of a correction, or the facts of its last step.
    labels : BatchLabels
        Of the fit.
    """
    rho, kappa = (float(record.get(name, 1.0)) for name in ("rho", "kappa"))
    declared = kappa == 1.0
    if rho >= LEAST_SHARED or declared or labels.n_batches < 2 or labels.nearly_unique:
        return ""
    return (
        f"few treatments seem to be shared between batches (rho {rho:.2f}, where 1 is all), so "
        "align moved rows as far as their matches are confirmed and held back the rest"
    )


def said_of_unshared(
    record: Mapping[str, Any],
    labels: BatchLabels,
    find_controls: Callable[[], NegativeControls | None] = lambda: None,
) -> str:
    """Say that ``align`` held back, why, and what to do; empty where it did not.

    Parameters
    ----------
    record, labels
        As ``held_back`` takes them.
    find_controls : callable
        Asked only where they could help.
    """
    reason = held_back(record, labels)
    if not reason:
        return ""
    controls = find_controls()
    other = "" if controls is None else f"; {controls.advice(labels)}"
    return (
        f"{reason}; if you know that every batch holds every treatment, give "
        f"{setting('shared_populations', True)}{other}"
    )
