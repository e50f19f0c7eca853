"""How those who look after workers end a run that waits for them, in another thread."""

from balans_dask.errors import RunError

__all__ = ["Alarm"]


class Alarm:
    """Rung where workers are given up, heard where results are waited for."""

    def __init__(self) -> None:
        self._reason: str | None = None

    def ring(self, reason: str) -> None:
        """End the run: the first reason counts."""
        self._reason = self._reason or reason

    def check(self) -> None:
        """Raise the reason, if there is one.

        Raises
        ------
        RunError
            If the workers were given up.
        """
        if self._reason is not None:
            raise RunError(self._reason)
