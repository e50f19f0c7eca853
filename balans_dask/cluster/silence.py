"""Dask's own log, of which a run shows only what is fatal."""

import logging

__all__ = ["silence_dask"]


def silence_dask() -> None:
    """Let Dask report only what is fatal.

    It reports every task that a lost worker or a stopped run leaves behind, and the run itself
    says what matters. Dask gives levels to some of its loggers, so each must be told.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
