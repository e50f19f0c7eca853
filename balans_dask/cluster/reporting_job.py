"""A job that keeps what the batch system said when it refused it."""

import re
from typing import Any

from distributed.deploy.spec import ProcessInterface

__all__ = ["reporting"]


class _Reporting:
    """Before a job class of dask-jobqueue, which raises where nobody listens."""

    refusal: str | None = None

    async def start(self: Any) -> None:
        """Submit the job; one that is refused has no number."""
        try:
            await super().start()  # type: ignore[misc]
        except (OSError, RuntimeError, ValueError) as error:
            self.refusal = _words(str(error))
            await ProcessInterface.start(self)

    async def close(self: Any) -> None:
        """Cancel the job, and say that it is closed, which Dask asserts."""
        await super().close()  # type: ignore[misc]
        await ProcessInterface.close(self)


def reporting(job_class: Any) -> Any:
    """Return the class of jobs that keep their refusal in ``refusal``."""
    return type(job_class.__name__, (_Reporting, job_class), {})


def _words(text: str) -> str:
    """Return the batch system's own words of the message of dask-jobqueue, in one line."""
    found = re.search(r"stderr:\n(.*)", text, flags=re.DOTALL)
    return " ".join((found[1] if found else text).split()) or " ".join(text.split())
