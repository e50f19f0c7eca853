"""``balans`` and ``python -m balans_dask``: the command line, which hears signals at once."""

import sys

from balans_dask.cluster.signals import end_with, stoppable
from balans_dask.errors import Interrupted

__all__ = ["main"]


def main() -> None:
    """Run the command line; a signal while it is imported ends it as one in the run does."""
    with stoppable():
        code = _exit_code()
    end_with(code)


def _exit_code() -> int:
    try:
        from balans_dask.cli.app import run

        return run()
    except Interrupted as early:
        from balans_dask.cli.app import ended

        return ended(early, sys.argv[1:])


if __name__ == "__main__":
    main()
