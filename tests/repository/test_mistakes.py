"""The ten likely mistakes of a page, made for real: one line each, with the remedy, and no run."""

import pytest

from tests.support.mistakes import BLOCK, MISTAKES, PAGE, TAKEN, make_files, said, transcript


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_files()
    return tmp_path


def test_the_transcript_of_the_page_is_what_the_commands_print(folder):
    [shown] = BLOCK.findall(PAGE.read_text())
    assert shown == transcript(), "`python -m tests.support.mistakes` writes it anew"


REMEDIES = {
    "a wrong column": ("'Batch'", "choose one of its 3 columns, Metadata_Plate"),
    "a column in another case": ("'metadata_plate'", "did you mean Metadata_Plate?"),
    "a typo in an option": ("--batch-kye", "did you mean --batch-key?"),
    "the output exists": ("done.parquet", "add --overwrite"),
    "NaN among the features": ("Cells_Feature_2", "drop or impute"),
    "a csv with an index column": ("Unnamed: 0", "to_csv(..., index=False)"),
    "a plate number became a feature": ("'Assay'", "--metadata-prefix Assay"),
    "an extra is missing": ("scib_metrics", "evaluate]"),
    "anchors that match nothing": ("'negcontrol'", "did you mean 'negcon'?"),
    "a typo in a path": ("profile.parquet", "did you mean profiles.parquet?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_the_thing_and_the_remedy(folder, name):
    before = set(folder.iterdir())
    [line] = [line for line in said(name) if line.startswith("balans: ")]
    assert line.startswith("balans: warning: " if name in TAKEN else "balans: error: ")
    assert all(part in line for part in REMEDIES[name])
    assert name in TAKEN or set(folder.iterdir()) == before
