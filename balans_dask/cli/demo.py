"""``balans demo``: a generated screen, corrected, with scores and a picture."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from balans_dask.errors import adding
from balans_dask.parameters import Parameters

if TYPE_CHECKING:
    import pandas as pd

    from balans_dask.io.store import ProfileStore
    from balans_dask.passes.stage import OnStage

__all__ = ["demo"]

BATCH, LABEL = "Metadata_Plate", "Metadata_treatment"


@click.command()
@click.option("--folder", default="demo", show_default=True, help="Where to write.")
def demo(folder: str) -> None:
    """Generate a small screen, correct it by default settings, and show scores and a picture."""
    from balans_dask.cluster.open import silence_dask
    from balans_dask.events import Events
    from balans_dask.progress import Progress

    silence_dask()
    with Progress(Console(stderr=True, soft_wrap=True)) as progress:
        lines = list(_corrected(folder, Events(progress)))
    out = Console()
    for line in lines:
        out.print(line)


def _corrected(folder: str, tell: "OnStage") -> Iterator[Any]:
    """Generate, correct, score and draw; replaces an earlier demo, and yields what to print."""
    import numpy as np

    from balans_dask.io.store import open_store
    from balans_dask.io.tables.convert import convert_table
    from balans_dask.model.plan import plan_run
    from balans_dask.passes.threads import embedded_engine
    from balans_dask.workflows.correct import WriteOptions, correct_store
    from balans_dask.workflows.request import correction_request

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    table = str(place / "profiles.parquet")
    raw, corrected = str(place / "screen.zarr"), str(place / "corrected.zarr")
    _screen().to_parquet(table)
    convert_table(table, raw, overwrite=True)
    run = correction_request(open_store(raw), [BATCH], Parameters())
    with embedded_engine() as engine:
        plan = plan_run(run.inputs, run.parameters, engine.workers())
        with engine.telling(tell):
            correct_store(engine, run, plan, corrected, WriteOptions(overwrite=True))
    before, after = open_store(raw), open_store(corrected)
    yield _scores(before, after)
    if find_spec("matplotlib") is None:
        yield f"no picture, which needs matplotlib: {adding('plot')}"
        return
    from balans_dask.report.maps import save_before_after

    picture = str(place / "before_after.png")
    save_before_after(
        picture,
        [np.asarray(store.features[:]) for store in (before, after)],
        before.obs[BATCH].to_numpy(),
        before.obs[LABEL].to_numpy(),
    )
    yield f"table {table}, stores {raw} and {corrected}, picture {picture}"


def _screen() -> "pd.DataFrame":
    """Generate 12,000 wells of 20 treatments on five plates, which shift and stretch profiles."""
    import numpy as np
    import pandas as pd

    from balans_dask.workflows.mixture import Mixture

    screen = Mixture(
        n_rows=12_000, n_features=200, n_clusters=20, cluster_spread=0.4, batch_offset=0.4
    )
    wells = screen.annotations().rename(columns={"Metadata_batch": BATCH}).reset_index(drop=True)
    wells[BATCH] = wells[BATCH].astype(str).str.replace("batch", "plate")
    names = [f"Cells_Feature_{i:03d}" for i in range(screen.n_features)]
    values = np.concatenate([rows for _, rows in screen.slabs(len(wells))])
    return wells.join(pd.DataFrame(values, columns=names))


def _scores(before: "ProfileStore", after: "ProfileStore") -> Table:
    import numpy as np

    from balans_dask.evaluate.neighbours import neighbour_shares

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
