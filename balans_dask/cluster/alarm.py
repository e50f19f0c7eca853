"""How those who look after workers end a run that waits for them, in another thread."""

from balans_dask.errors import BalansError

__all__ = ["Alarm"]


class Alarm:
    """Rung where workers are given up, heard where results are waited for."""

    def __init__(self) -> None:
        self._reason: BalansError | None = None

    def ring(self, reason: BalansError) -> None:
        """End the run: the first reason counts."""
        self._reason = self._reason or reason

    def check(self) -> None:
        """Raise the reason, if there is one.

        Raises
        ------
        BalansError
            If the workers were given up.
        """
        if self._reason is not None:
            raise self._reason
