"""``balans demo``: a generated screen, corrected, with scores and a picture."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from balans_dask.evaluate.neighbours import neighbour_shares
from balans_dask.io.store import ProfileStore, open_store
from balans_dask.model.inputs import plan_run
from balans_dask.model.stages import OnStage
from balans_dask.parameters import Parameters
from balans_dask.passes.engine import Engine
from balans_dask.passes.workers import embedded_client
from balans_dask.workflows.correct import correct_store
from balans_dask.workflows.mixture import Mixture, write_mixture
from balans_dask.workflows.request import store_run

__all__ = ["DEMO_SCREEN", "run_demo"]

DEMO_SCREEN = Mixture(
    n_rows=12_000, n_features=200, n_clusters=20, cluster_spread=0.35, batch_offset=0.3
)
BATCH, LABEL = "Metadata_batch", "Metadata_treatment"


def run_demo(folder: str, on_stage: OnStage) -> Iterator[Any]:
    """Generate, correct, score and draw a small screen; replaces an earlier demo.

    Parameters
    ----------
    folder : str
        Made if it is not there.
    on_stage : callable
        Told what the run is doing.

    Yields
    ------
    line : object
        What to print.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    raw, corrected = str(place / "screen.zarr"), str(place / "corrected.zarr")
    write_mixture(DEMO_SCREEN, raw, overwrite=True)
    run = store_run(open_store(raw), [BATCH], Parameters())
    with embedded_client() as client:
        engine = Engine(client)
        plan = plan_run(run.inputs, run.parameters, engine.workers())
        correct_store(engine, run, plan, corrected, overwrite=True, on_stage=on_stage)
    before, after = open_store(raw), open_store(corrected)
    yield _scores(before, after)
    if find_spec("matplotlib") is None:
        yield "no picture: install matplotlib (the plot extra) to draw it"
        return
    from balans_dask.report.maps import save_before_after

    picture = str(place / "before_after.png")
    save_before_after(
        picture,
        [np.asarray(store.features[:]) for store in (before, after)],
        before.obs[BATCH].to_numpy(),
        before.obs[LABEL].to_numpy(),
    )
    yield f"stores {raw} and {corrected}, picture {picture}"


def _scores(before: ProfileStore, after: ProfileStore) -> Table:
    table = Table(title="30 nearest neighbours of every profile", title_justify="left")
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left")
    shares = [
        neighbour_shares(
            np.asarray(store.features[:]), before.obs[LABEL], before.obs[BATCH], n_neighbors=30
        )
        for store in (before, after)
    ]
    table.add_row("same label (1 is best)", *(f"{share.same_label:.3f}" for share in shares))
    table.add_row("batch mixing (1 is perfect)", *(f"{share.batch_mixing:.3f}" for share in shares))
    return table
