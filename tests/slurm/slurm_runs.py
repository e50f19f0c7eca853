"""A run with so many rounds that there is time to disturb it, and how far it is."""

import json
from contextlib import suppress
from pathlib import Path

OPTIONS = [
    "--batch-key", "Metadata_batch", "--n-components", 0, "--checkpoint-seconds", 0,
    "--operator", "smooth", "--block-rows", 16, "--patience", 15,
]  # fmt: skip


def stages(target: Path) -> list[str]:
    """Stages that an unfinished run has come to, as its events tell."""
    found = []
    with suppress(OSError):
        for line in (target.with_name(f"{target.name}.partial") / "events.jsonl").open():
            with suppress(ValueError):
                found.append(json.loads(line)["stage"])
    return list(dict.fromkeys(found))


def n_attempts(target: Path) -> int:
    """How many processes have worked at a finished run."""
    lines = target.with_name(f"{target.name}.events.jsonl").read_text().splitlines()
    return len({json.loads(line)["attempt"] for line in lines})
