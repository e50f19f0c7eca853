"""``balans inspect``."""

from rich.console import Console

from balans_dask.cli.terminal import correction_facts, facts_table, model_facts, store_facts
from balans_dask.io.model_store import is_model, stored_bytes
from balans_dask.io.store import open_store
from balans_dask.model.saved import load_model
from balans_dask.workflows.records import correction_record

__all__ = ["run_inspect"]


def run_inspect(console: Console, source: str) -> None:
    """Print what a store or a model holds."""
    if is_model(source):
        console.print(facts_table(source, model_facts(load_model(source), stored_bytes(source))))
        return
    store = open_store(source)
    console.print(facts_table(source, store_facts(store)))
    record = correction_record(store)
    if record:
        console.print(facts_table("correction", correction_facts(record)))
