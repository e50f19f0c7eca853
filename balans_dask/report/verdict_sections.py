"""What a reader asks first: is it better, by how much, for which labels, and do batches meet."""

import math

from balans_dask.errors import BalansError
from balans_dask.evaluate.scoring import MIXING_NEIGHBORS, SCORES
from balans_dask.evaluate.stores import RAW
from balans_dask.evaluate.sweep.result import MIXING_SHARE, SIGNAL_SHARE
from balans_dask.evaluate.table import (
    BLOCKS,
    HEADINGS,
    NULL,
    EvaluationTable,
    cautions,
    evaluate_stores,
)
from balans_dask.evaluate.verdict import (
    BETTER,
    HELD_BACK,
    NOT_JUDGED,
    RULE,
    WORSE,
    Change,
    LabelChange,
    Score,
)
from balans_dask.model.fit import limited_landmarks
from balans_dask.report.page import Card, Picture, Section, Table, Tile, drawn
from balans_dask.report.run_figures import meetings_figure
from balans_dask.report.sample import MET, MET_ROWS, Sample
from balans_dask.report.source import Reported
from balans_dask.workflows.sharing import held_back

__all__ = [
    "label_section",
    "meeting_section",
    "remedy_of",
    "score_section",
    "side_tables",
    "table_section",
    "verdict_card",
]

MOVED = {-1: "lost", 0: "unchanged, within noise", 1: "gained"}
TONES = {-1: "bad", 0: "same", 1: "good"}
HEADINGS_OF = {
    BETTER: "Better than uncorrected",
    HELD_BACK: "Held back",
    WORSE: "Worse than uncorrected",
    NOT_JUDGED: "Not judged",
}
VERDICTS = {BETTER: "good", HELD_BACK: "same", WORSE: "bad", NOT_JUDGED: "same"}
OTHER_UNIT = "not to be compared: sphering gives rows another unit"
LISTED = 5
"""Labels that gained, and that lost, most."""
MAX_ROWS = 5000
"""Rows of the scores by other libraries."""
PLUS_MINUS, ARROW, MINUS = "\N{PLUS-MINUS SIGN}", "\N{RIGHTWARDS ARROW}", "\N{MINUS SIGN}"


def verdict_card(asked: Reported, sample: Sample) -> Card:
    """Say whether the correction is better than its input.

    Parameters
    ----------
    sample : Sample
        By ``sampled``.
    """
    change = sample.change
    if change is None:
        reason = asked.missing_source or "there are too few rows"
        return Card("Not judged", "same", [f"There is nothing to compare with: {reason}."], [])
    verdict, reason = change.verdict, _held_back(asked)
    heading = HEADINGS_OF[verdict]
    if verdict == BETTER and reason:
        heading += ", and held back"
    text = [_said_of(change)]
    if verdict == HELD_BACK:
        reasons = _reasons(asked, change)
        heading = heading if reasons else "No difference beyond noise"
        text += [_sentence(said) for said in reasons]
    elif reason:
        text.append(_sentence(reason))
    tiles = [_tile("Signal", change.signal), _tile("Mixing", change.mixing)]
    kept = f"100 % {ARROW} {_percent(change.variance_kept)}"
    words = "of the total variance"
    if change.variance_kept <= 1.0:
        words += "; what is gone was of batches, of noise or of biology"
    if asked.is_sphered:
        kept, words = "-", OTHER_UNIT
    tiles.append(Tile("Variance kept", kept, words, "same"))
    return Card(heading, VERDICTS[verdict], text, tiles)


def _said_of(change: Change) -> str:
    signal, mixing = change.signal, change.mixing
    mixed = {
        -1: "batches mix less than before",
        0: "batches mix as before, within noise",
        1: "batches mix better than before",
    }[mixing.moved]
    if change.verdict == NOT_JUDGED:
        return _sentence(f"{mixed}, which alone says little: {change.not_judged}")
    assert signal is not None
    lost = 1 - signal.after / signal.before if signal.before else 0.0
    found = {
        -1: f"less often than before ({lost:.0%} of it lost)",
        0: "as often as before, within noise",
        1: "more often than before",
    }[signal.moved]
    return _sentence(f"{mixed}; rows find their label in other batches {found}")


def _held_back(asked: Reported) -> str:
    """Say why the run moved less than it could have; empty where anchors or a model tied it."""
    if "anchor" in asked.record["parameters"] or "model" in asked.record:
        return ""
    return held_back(asked.record, asked.batch)


def _reasons(asked: Reported, change: Change) -> list[str]:
    """Say why little moved, as far as the record and the scores tell."""
    record = asked.record
    reasons = [_held_back(asked)]
    if asked.batch.n_batches < 2:
        reasons.append("there is one batch alone, so there is nothing to correct")
    elif change.was_mixed:
        reasons.append("batches were mixed before, as far as noise tells: there was little to do")
    reasons.append(limited_landmarks(int(record.get("n_capped", 0)), int(record["n_sampled"])))
    strength = float(record["parameters"].get("strength", 1.0))
    if strength < 1.0:
        reasons.append(f"the strength asked for was {strength:g}, of 1")
    return [reason for reason in reasons if reason]


def remedy_of(change: Change | None) -> list[str]:
    """Warn of a result that is worse than its input."""
    if change is None or change.verdict != WORSE:
        return []
    assert change.signal is not None
    fell = "signal" if change.signal.moved < 0 else "mixing"
    score = change.signal if change.signal.moved < 0 else change.mixing
    told = f"{fell} {score.before:.3f} before, {score.after:.3f} after"
    return [
        f"The result is worse than uncorrected ({told}): use the input, or compare settings, raw "
        "among them, by `balans sweep`."
    ]


def _tile(name: str, score: Score | None) -> Tile:
    if score is None:
        return Tile(name, "-", "not known", "same")
    noise = "" if math.isinf(score.noise) else f" {PLUS_MINUS} {score.noise:.3f}"
    value = f"{score.before:.3f} {ARROW} {score.after:.3f}"
    words = f"{MOVED[score.moved]}: {_signed(score.difference)}{noise}"
    if math.isinf(score.noise):
        words = f"{_signed(score.difference)}, and its noise is not known"
    return Tile(name, value, words, TONES[score.moved])


def score_section(asked: Reported, sample: Sample) -> Section:
    """Show what the verdict goes by, and by which rule."""
    change = sample.change
    title = "Scores"
    if change is None:
        return Section(title, ["Not computed: there is nothing to compare with."])
    total = f"{SIGNAL_SHARE:g} signal + {MIXING_SHARE:g} mixing"
    named = {"signal": change.signal, "mixing": change.mixing, total: change.total}
    rows = [
        (name, f"{score.before:.3f}", f"{score.after:.3f}", _signed(score.difference),
         "not known" if math.isinf(score.noise) else f"{PLUS_MINUS} {score.noise:.3f}")
        for name, score in named.items() if score is not None
    ]  # fmt: skip
    if not asked.is_sphered:
        gone = _signed(change.variance_kept - 1)
        rows.append(("variance kept", "1.000", f"{change.variance_kept:.3f}", gone, ""))
    pair = SCORES["neighbours"]
    of = "" if change.signal is None else f", {len(change.labels):,} labels of two batches"
    text = [f"Of {len(sample.rows):,} of {asked.store.n_rows:,} rows{of}."]
    among = "" if change.signal is not None else "; here of any label"
    meant = [
        ("signal", pair.signal),
        ("mixing", f"{pair.mixing}{among}"),
        ("variance kept", "total variance, as a share of that before"),
        ("verdict", RULE),
    ]
    header = ("score", "raw", "corrected", "difference", "noise")
    return Section(
        title, text, (), [Table("Signal, mixing and variance", header, rows)],
        [Table("What they mean, and the rule", (), meant)],
    )  # fmt: skip


def table_section(asked: Reported) -> tuple[Section, list[str]]:
    """Score the store by other libraries, beside its input and null models, or say why not."""
    title = "Scores of scib-metrics and copairs"
    if not asked.labels:
        return Section(title, ["Not computed: there is no label column; give --label-key."]), []
    # A model's query for anchors may name no row of new plates.
    has_controls = asked.control is not None and bool(asked.control.any())
    try:
        table = evaluate_stores(
            [asked.store.path],
            asked.batch_keys,
            asked.labels[0].column,
            control=asked.control_query if has_controls else None,
            max_rows=MAX_ROWS,
        )
    except BalansError as error:
        return Section(title, [f"Not computed: {error}"]), []
    tables = side_tables(table)
    definitions = Table("Definitions", (), [*table.footnotes().items()])
    text = f"The null models say what a score is worth. {table.summary()}."
    return Section(title, [text], (), tables, [definitions]), cautions(table.rows)


def side_tables(table: EvaluationTable) -> list[Table]:
    """Lay out the scores of each side, a line for each, with what the store gained over raw."""
    by_name = {str(row["name"]): row for row in table.rows}
    nulls = [name for name in by_name if name.startswith(NULL)]
    # Raw first, if it is known, and the store.
    sides = sorted((name for name in by_name if name not in nulls), key=lambda name: name != RAW)
    tables = []
    for block, names in BLOCKS.items():
        rows = []
        for name in names:
            values = [float(by_name[side][name]) for side in (*sides, *nulls)]
            if any(map(math.isfinite, values)):
                gained = values[1] - values[0] if len(sides) > 1 else math.nan
                cells = [_score(value) for value in values]
                cells.insert(len(sides), _signed(gained) if math.isfinite(gained) else "-")
                rows.append((HEADINGS[name], *cells))
        tables.append(Table(block, ("score", *sides, "difference", *nulls), rows))
    return tables


def label_section(asked: Reported, sample: Sample) -> list[Section]:
    """List the labels that gained and lost most; nothing where signal is not known."""
    change = sample.change
    if change is None or not change.labels:
        return []
    gained = [each for each in change.labels if each.difference > 0][:LISTED]
    lost = [each for each in reversed(change.labels) if each.difference < 0][:LISTED]
    text = [
        f"Signal of each label of {asked.labels[0].column}, by its rows that were scored; that of "
        "few rows is mostly noise."
    ]
    tables = [
        Table(caption, ("label", "rows", "raw", "corrected", "difference"), _label_rows(listed))
        for caption, listed in (("Gained most", gained), ("Lost most", lost))
        if listed
    ]
    if not tables:
        text.append("None gained or lost any.")
    return [Section("Labels that gained and lost most", text, (), tables)]


def _label_rows(listed: list[LabelChange]) -> list[tuple[str, ...]]:
    return [
        (each.name, f"{each.n_rows:,}", f"{each.before:.3f}", f"{each.after:.3f}",
         _signed(each.difference))
        for each in listed
    ]  # fmt: skip


def meeting_section(asked: Reported, sample: Sample) -> list[Section]:
    """Show how often batches are neighbours; nothing where there is one."""
    names = [asked.batch.names[i] for i in sample.met]
    if len(names) < 2:
        return []
    n_batches = asked.batch.n_batches
    largest = f" of the {MET} largest of {n_batches:,}" if n_batches > MET else ""
    text = [
        f"A line is a batch{largest}: of the {MIXING_NEIGHBORS} nearest neighbours of its rows, "
        "those in the batch of the column, over that one's share of all (of "
        f"{MET_ROWS:,} rows at most). 1 is mixed; a batch that meets itself more often, and others "
        "less, is apart."
    ]
    pictures: list[Picture] = []
    for when, ratio in (("Before", sample.met_before), ("After", sample.met_after)):
        if ratio is not None:
            alt = f"Heat map of how often {len(names)} batches are neighbours, {when.lower()}."
            pictures.append(drawn(meetings_figure(ratio, names), alt, f"{when}."))
    return [Section("Mixing by batch", text, pictures, span=2)]


def _score(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", MINUS)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
