"""What the project set itself on real profiles, and whether the figures reach it."""

from collections.abc import Mapping
from typing import Any

from benchmarks.harness.tables import interval, lines

__all__ = ["acceptance"]

TOTAL_ABOVE = 0.01
PURITY_AT_MOST = 0.30
NSCB_LOSS = 0.02
RETRIEVAL_LOSS = 0.02
PRECISIONS = {
    "map": "mAP",
    "cross_batch_map": "cross-batch mAP",
    "cross_batch_map_own_negatives": "with own batch's negatives",
}
Methods = Mapping[str, Any]


def acceptance(sets: Mapping[str, Methods]) -> str:
    """Write the goals of those sets that were measured."""
    goals = {
        "cpjump1_compound_csn, batch Metadata_Plate": _beside_harmony,
        "bbbc021_well, batch Metadata_Plate": _with_anchors,
        "bbbc021_singlecell, batch Metadata_Plate": _without_harm,
    }
    found = [f"### {name}\n\n{goals[name](sets[name])}" for name in goals if name in sets]
    return "\n".join(["\n## Goals\n", *found]) if found else ""


def _beside_harmony(methods: Methods) -> str:
    if "harmonypy" not in methods:
        return "harmonypy is not there.\n"
    rows = [
        _row_beside_harmony(name, other, methods)
        for name in methods
        if name.startswith("displace")
        for other in ("harmonypy", "harmonypy, best seed")
    ]
    text = (
        f"Goal: total at least {TOTAL_ABOVE} above harmonypy's; cross-batch mAP not below "
        "harmonypy's by the paired bootstrap; mAP at least the raw one. *Not below* has two "
        "readings: the interval is not wholly below 0 (no loss is shown), or it is wholly above "
        "(a gain is shown). *met* takes the first, and the mean for mAP.\n\n"
    )
    head = ["method", "beside", "total", "cross-batch mAP", "not wholly below 0",
            "wholly above 0", "mAP minus raw", "met"]  # fmt: skip
    return text + lines(head, rows)


def _row_beside_harmony(name: str, other: str, methods: Methods) -> list[str]:
    total = methods[name]["scores"]["total"] - methods[other]["scores"]["total"]
    across = methods[name]["differences"][other]["cross_batch_map"]
    replicates = methods[name]["differences"]["raw"]["map"]
    return [
        name,
        other,
        f"{total:+.4f}",
        interval(across),
        _said(across[2] >= 0),
        _said(across[1] > 0),
        interval(replicates),
        _said(total >= TOTAL_ABOVE and across[2] >= 0 and replicates[0] >= 0),
    ]


def _with_anchors(methods: Methods) -> str:
    raw = methods["raw"]["scores"]["nscb"]
    rows = []
    for name, method in methods.items():
        if name in ("raw", "harmonypy", "displace") or "anchors" in name:
            purity, nscb = method["scores"]["control_purity"], method["scores"]["nscb"]
            shift = method["scores"].get("shift_followed")
            met = (
                not name.startswith("raw") and purity <= PURITY_AT_MOST and nscb >= raw - NSCB_LOSS
            )
            followed = "-" if shift is None else f"{shift:.3f}"
            rows.append([name, f"{purity:.3f}", f"{nscb:.3f}", followed, _said(met)])
    text = (
        f"Goal, with DMSO wells as anchors: DMSO week purity at most {PURITY_AT_MOST:.2f}, NSCB "
        f"not more than {NSCB_LOSS} below raw. *Shift followed* says whether treated wells moved "
        "with the DMSO wells of their plate, without which the goal would be empty. Raw is *raw*; "
        "*raw, anchors* has the anchors' standardisation alone.\n\n"
    )
    return text + lines(["method", "DMSO week purity", "NSCB", "shift followed", "met"], rows)


def _without_harm(methods: Methods) -> str:
    rows = []
    for name, method in methods.items():
        if "raw" in method["differences"]:
            found = [method["differences"]["raw"][precision] for precision in PRECISIONS]
            met = min(difference for difference, _, _ in found) >= -RETRIEVAL_LOSS
            rows.append([name, *(interval(values) for values in found), _said(met)])
    text = f"Goal: retrieval of labels not more than {RETRIEVAL_LOSS} below raw. Minus raw:\n\n"
    return text + lines(["method", *PRECISIONS.values(), "met"], rows)


def _said(met: bool) -> str:
    return "yes" if met else "no"
