"""Places of stores and files: paths of this machine, or what a URL names in a bucket.

``place_of`` makes a ``pathlib.Path`` of a path and a ``UPath`` of a URL, which answers to the same
names, so that a run, its checkpoint and its manifest are written by the same code to both. Where a
bucket is another kind of thing (it has no rename, no folders, no fsync), ``io.files`` and
``io.bucket`` say what is done instead. Zarr reaches buckets through fsspec as well: one
mechanism, one set of options. obstore reads faster, but has other names for every option and would
be a second way beside each of these; conditional puts, which locks need, fsspec has too.

How buckets are reached is said once, for a command or a block: ``storage_options`` belong to the
process, not to every function that takes a path. A place that is made within the block keeps them,
and takes them along to the workers.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from balans_dask.errors import BalansError, InvalidInputError, adding, first_line, keep_secret

__all__ = [
    "is_remote",
    "is_url",
    "place_of",
    "place_of_zarr",
    "reaching",
    "require_writable",
    "resolved",
    "storage_options",
    "tried_beside",
    "zarr_place",
]

LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
"""What reaches each kind of URL."""
TRIAL = ".trial.."
"""With the eight letters that the system adds as long as any ending of ours, such as
``.events.jsonl``, or ``.writing`` behind the number of a process."""
FAILING = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
"""What says nothing about a path, but about the disk."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
BUSY = 503
"""Status of an answer that asks to slow down."""
_NONE: Mapping[str, Any] = MappingProxyType({})
_given: ContextVar[Mapping[str, Any]] = ContextVar("storage_options", default=_NONE)


def is_url(path: str) -> bool:
    """Tell whether a text names something outside the file systems of this machine."""
    return "://" in path


def is_remote(place: Path) -> bool:
    """Tell whether a place is that of a URL."""
    return not isinstance(place, Path)


def place_of(path: str | Path) -> Path:
    """Return the place that a text names; a place stays what it is.

    Raises
    ------
    InvalidInputError
        If it is a URL of unknown kind, or the libraries for it are not installed.
    """
    if not isinstance(path, str):
        return path
    if not is_url(path):
        return Path(path)
    protocol = path.partition("://")[0].lower()
    if protocol not in LIBRARIES:
        raise InvalidInputError(
            f"{path} is of unknown kind: give a path, or a URL of s3://, gs:// or https://"
        )
    extra = "gcs" if protocol == "gs" else "cloud"
    missing = [name for name in ("upath", LIBRARIES[protocol]) if find_spec(name) is None]
    if missing:
        raise InvalidInputError(f"{path} needs {' and '.join(missing)}: {adding(extra)}")
    place = _upath(path, _options_for(protocol))
    if not place.name:
        raise InvalidInputError(f"{path} names no folder in a bucket: add its name")
    return place


def resolved(place: Path) -> Path:
    """Return an absolute place without symbolic links; a URL is one already."""
    return place if is_remote(place) else place.resolve()


def require_writable(place: Path) -> None:
    """Refuse to write to a place that can only be read, or whose folder or bucket is not there.

    In a file system it is tried, with a name beside it as long as any that a run makes.

    Raises
    ------
    InvalidInputError
    """
    if not is_remote(place):
        if not place.parent.is_dir():
            raise InvalidInputError(f"the folder of {place} does not exist: create it first")
        with tried_beside(place):
            return
    where: Any = place
    if where.protocol.startswith("http"):
        raise InvalidInputError(f"{place} can only be read: write to a path, s3:// or gs://")
    if not where.fs.exists(where.path.partition("/")[0]):
        raise InvalidInputError(
            f"the bucket of {place} is not there, or not for these keys: create it first, or check "
            "the keys and the endpoint"
        )


@contextmanager
def tried_beside(place: Path) -> Iterator[Path]:
    """Make a folder beside a place for a moment.

    Raises
    ------
    InvalidInputError
        If the file system refuses that.
    """
    try:
        trial = TemporaryDirectory(prefix=f"{place.name}{TRIAL}", dir=place.parent)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in FAILING:
            raise
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(
            f"{place} cannot be written ({reason}): choose another path"
        ) from error
    with trial as folder:
        yield Path(folder)


def zarr_place(path: str | Path) -> Any:
    """Return what Zarr opens: a path, or a store that reaches a bucket."""
    place: Any = place_of(path)
    if not is_remote(place):
        # As text it could be taken for a chain of URLs, such as plate::1.zarr.
        return place
    from zarr.storage import FsspecStore  # noqa: PLC0415  (options are read without it)

    _reached(place)
    return FsspecStore.from_url(str(place), storage_options=dict(place.storage_options))


def place_of_zarr(store: Any) -> Path | None:
    """Return where a Zarr store is; ``None`` if not in a file system or bucket that we know."""
    from zarr.storage import FsspecStore, LocalStore  # noqa: PLC0415  (options are read without it)

    if isinstance(store, LocalStore):
        return Path(store.root)
    if not isinstance(store, FsspecStore) or find_spec("upath") is None:
        return None
    url = store.fs.unstrip_protocol(store.path)
    if url.partition("://")[0] not in LIBRARIES:
        return None
    options = store.fs.storage_options
    return _upath(url, {name: options[name] for name in options if name != "asynchronous"})


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


def _options_for(protocol: str) -> dict[str, Any]:
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


@contextmanager
def reaching(path: str | Path) -> Iterator[None]:
    """Turn whatever a network or a bucket answers to a first request into a refusal."""
    try:
        yield
    except BalansError:
        raise
    except Exception as error:  # every library has errors of its own
        if not is_url(str(path)):
            raise
        raise InvalidInputError(
            f"{path} cannot be reached ({first_line(error)}): check the address, the endpoint "
            "(--storage-option endpoint_url=URL) and the keys (or --anonymous)"
        ) from error


def _reached(place: Any) -> Path:
    """Prepare this process, which may be a worker's, for what a place is reached by."""
    if place.protocol == "s3":
        _ask_again()
    return place  # type: ignore[no-any-return]


@cache
def _ask_again() -> None:
    """Let s3fs ask again where a server is busy, also of HEAD.

    s3fs looks for the word ``SlowDown`` in the answer, and that to HEAD has no text.
    """
    from s3fs import core  # noqa: PLC0415  (the cloud extra)

    before = core.CUSTOM_ERROR_HANDLER

    def is_busy(error: Exception) -> bool:
        answer = getattr(error, "response", {}).get("ResponseMetadata", {})
        return answer.get("HTTPStatusCode") == BUSY or bool(before(error))

    core.set_custom_error_handler(is_busy)


def _upath(url: str, options: dict[str, Any]) -> Path:
    from upath import UPath  # noqa: PLC0415  (the cloud extra)

    return _reached(UPath(url.rstrip("/"), **options))
