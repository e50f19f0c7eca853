"""How to reach buckets: options of fsspec's file systems, given once for a command or a block.

They belong to the process, not to every function that takes a path: a place that is made within the
block keeps them, and takes them along to the workers.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from balans_dask.errors import keep_secret

__all__ = ["options_for", "storage_options"]

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_NONE: Mapping[str, Any] = MappingProxyType({})
_given: ContextVar[Mapping[str, Any]] = ContextVar("storage_options", default=_NONE)


@contextmanager
def storage_options(**options: Any) -> Iterator[None]:
    """Reach buckets in a certain way within a ``with`` block.

    Parameters
    ----------
    **options
        As s3fs or gcsfs takes them, such as ``endpoint_url="http://host:9000"``, ``key``,
        ``secret`` or ``profile``; ``anon=True`` reads public buckets without keys. What is not
        given comes from the environment (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID`` and so on),
        on workers from theirs.

    Examples
    --------
    >>> from balans_dask import storage_options
    >>> with storage_options(endpoint_url="http://127.0.0.1:9000"):
    ...     pass  # Balans.load("s3://bucket/model.zarr")
    """
    keep_secret(options)
    token = _given.set({**_given.get(), **options})
    try:
        yield
    finally:
        _given.reset(token)


def options_for(protocol: str) -> dict[str, Any]:
    """Return what a file system of a protocol is made with; ``https`` has no options.

    Listings are never remembered, because other processes write too. The endpoint of the
    environment is named, so that workers of another environment find it.
    """
    if protocol.startswith("http"):
        return {}
    given = dict(_given.get())
    anonymous = given.pop("anon", False)
    found: dict[str, Any] = {"use_listings_cache": False}
    if protocol == "s3":
        named = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
        found |= {"endpoint_url": named} if named else {}
        found |= {"anon": True} if anonymous else {}
    elif anonymous:
        found["token"] = "anon"
    return found | given
