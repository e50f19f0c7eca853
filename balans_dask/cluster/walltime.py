"""How long a job may run, in the words of each batch system, and how long its workers live.

A worker that ends by itself before the batch system kills its job hands its results on; with a
stagger not all of a run end at once.
"""

import re

from balans_dask.errors import InvalidInputError

__all__ = ["lifetime_arguments", "walltime_for", "walltime_seconds"]

FLAG = re.compile(r"(\d+):([0-5]\d):([0-5]\d)")
LONGEST_MARGIN_SECONDS = 120
"""Kept for the start of Python on a busy file system and for handing results on."""
LONGEST_STAGGER_SECONDS = 240


def walltime_for(system: str, text: str) -> str:
    """Write ``HH:MM:SS`` as a batch system takes it.

    Raises
    ------
    InvalidInputError
        If it is none, or no time at all.
    """
    found = FLAG.fullmatch(text)
    if found is None or not any(map(int, found.groups())):
        raise InvalidInputError(f"--walltime {text} is no time: write HH:MM:SS, such as 04:00:00")
    hours, minutes, seconds = map(int, found.groups())
    if system != "lsf":
        return text
    # LSF has no seconds: a job gets the whole minute.
    minutes += hours * 60 + (seconds > 0)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def walltime_seconds(system: str, text: str) -> int | None:
    """Return the seconds of a walltime in the words of a batch system.

    Parameters
    ----------
    system : str
        ``slurm`` (``MM``, ``MM:SS``, ``HH:MM:SS``, ``D-HH[:MM[:SS]]``), ``pbs`` and ``sge``
        (``[[HH:]MM:]SS``) or ``lsf`` (``[HH:]MM``).
    text : str

    Returns
    -------
    int or None
        ``None`` of what is no such time, as where a job may run for ever.
    """
    days, dash, clock = text.strip().rpartition("-")
    parts = clock.split("/")[0].split(":") if system == "lsf" else clock.split(":")
    if not all(part.isdecimal() for part in ([days] if dash else []) + parts) or len(parts) > 3:
        return None
    numbers = [int(part) for part in parts]
    if dash:
        # SLURM counts from the hours after days.
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        return ((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds
    if system == "lsf" or (system == "slurm" and len(numbers) == 1):
        numbers.append(0)
    hours, minutes, seconds = [0, 0, *numbers][-3:]
    return (hours * 60 + minutes) * 60 + seconds


def lifetime_arguments(seconds: int) -> list[str]:
    """Return the arguments by which a worker ends itself before its job is killed.

    Parameters
    ----------
    seconds : int
        Walltime of the job.
    """
    stagger = min(seconds // 15, LONGEST_STAGGER_SECONDS)
    margin = min(seconds // 20, LONGEST_MARGIN_SECONDS)
    lifetime = seconds - margin - stagger
    return ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"]
