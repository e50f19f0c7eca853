"""The options that decide an output, as ``balans correct --config`` takes them."""

from collections.abc import Sequence

import tomli_w

from balans_dask.parameters import Parameters

__all__ = ["as_config"]

WRITTEN_NONE = {"n_components": 0, "max_scale_ratio": "none"}
"""What the command line calls ``None``; other parameters are left out then."""


def as_config(
    parameters: Parameters | None,
    batch_keys: Sequence[str],
    basis: str | None = None,
    anchor: str | None = None,
    batch_order: bool = False,
) -> str:
    """Return the options of a run as TOML; nothing of where it ran, which changes no output.

    Parameters
    ----------
    parameters : Parameters or None
        ``None`` where they are those of a model.
    batch_keys : sequence of str
    basis, anchor : str or None
    batch_order : bool
        The keys took turns, and the passes are those of all keys together.
    """
    given = {} if parameters is None else parameters.as_dict()
    if batch_order:
        # The command line counts the passes of one key.
        given |= {"batch_order": True, "n_passes": given["n_passes"] // len(batch_keys)}
    given = {
        name: WRITTEN_NONE.get(name) if value is None else value for name, value in given.items()
    }
    options = {"batch_key": list(batch_keys), "basis": basis, "anchor": anchor} | given
    return tomli_w.dumps(
        {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    )
