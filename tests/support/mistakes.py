"""Ten likely mistakes at the command line, made for real: the transcript of ``docs/mistakes.md``.

``python -m tests.support.mistakes`` writes the transcript into the page.
"""

import os
import re
import textwrap
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest

from balans_dask.evaluate import scib
from tests.support import REPOSITORY
from tests.support.commands import streams

PAGE = REPOSITORY / "docs" / "mistakes.md"
BLOCK = re.compile(r"(?<=```text\n).*?(?=```)", flags=re.DOTALL)
WIDTH = 88
"""What a page shows without scrolling."""
QUOTED = re.compile(r"(['\"]).*?\1")
CORRECT = ("correct", "profiles.parquet")
TO = "corrected.parquet"
PLATE = ("--batch-key", "Metadata_Plate")
LABEL = ("--label-key", "Metadata_compound")
MISTAKES = {
    "a wrong column": (*CORRECT, TO, "--batch-key", "Batch"),
    "a column in another case": (*CORRECT, TO, "--batch-key", "metadata_plate"),
    "a typo in an option": (*CORRECT, TO, "--batch-kye", "Metadata_Plate"),
    "the output exists": (*CORRECT, "done.parquet", *PLATE),
    "NaN among the features": ("correct", "gaps.parquet", TO, *PLATE),
    "a csv with an index column": ("correct", "indexed.csv", "new.parquet", *PLATE, "--quiet"),
    "a plate number became a feature": ("correct", "screen.zarr", TO, "--batch-key", "Assay"),
    "an extra is missing": ("evaluate", "screen.zarr", *PLATE, *LABEL),
    "anchors that match nothing": (
        *(*CORRECT, TO, *PLATE),
        *("--anchor", "Metadata_pert_type == 'negcontrol'"),
    ),
    "a typo in a path": ("correct", "profile.parquet", TO, *PLATE),
}
TAKEN = {"a csv with an index column"}
"""What is corrected all the same, after a line about it."""


def make_files() -> None:
    """Small tables in this folder, of three plates of 40 wells with 8 features."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "Metadata_Plate": np.repeat(["P1", "P2", "P3"], 40),
            "Metadata_pert_type": np.tile(["negcon", "trt", "trt", "trt"], 30),
            "Metadata_compound": np.tile(["DMSO", "A", "B", "C"], 30),
        }
    )
    for i in range(1, 9):
        table[f"Cells_Feature_{i}"] = rng.normal(size=120).astype("float32")
    table.to_parquet("profiles.parquet")
    table.to_parquet("done.parquet")
    table.to_csv("indexed.csv")
    table.assign(Assay=np.repeat([25372, 25373, 25374], 40)).to_parquet("assays.parquet")
    table.loc[7, "Cells_Feature_2"] = np.nan
    table.to_parquet("gaps.parquet")
    streams("convert", "assays.parquet", "screen.zarr")


def said(name: str) -> list[str]:
    """What a mistake prints, without the library that none of these files has."""
    code = 0 if name in TAKEN else 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scib, "import_module", missing)
        out, err = streams(*MISTAKES[name], code=code)
    assert not out
    return err.splitlines()


def missing(name: str) -> None:
    raise ModuleNotFoundError(f"No module named {name!r}")


def typed(word: str) -> str:
    return f'"{word}"' if " " in word else word


def transcript() -> str:
    """All mistakes, typed and answered in this folder, in lines of a page."""
    blocks = []
    for name, words in MISTAKES.items():
        lines = [f"$ balans {' '.join(map(typed, words))}", *said(name)]
        blocks.append("\n".join([f"# {name}", *(line for each in lines for line in folded(each))]))
    return "\n\n".join(blocks) + "\n"


def folded(line: str) -> list[str]:
    """Cut a long line between words, but never within quotes."""
    kept = QUOTED.sub(lambda found: found[0].replace(" ", "\0"), line)
    cut = textwrap.wrap(kept, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    return [each.replace("\0", " ") for each in cut]


def main() -> None:
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        make_files()
        found = transcript()
    PAGE.write_text(BLOCK.sub(lambda _: found, PAGE.read_text(), count=1))


if __name__ == "__main__":
    main()
