"""What a potential's bands are worth: barriers of literature hops beside the literature's.

Published beside them: MACE-MP-0 with relaxed bands on the 60 test hops of arXiv 2508.06436.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from em_model.evaluate import metrics
from workflows.distill.card import interval
from workflows.distill.validate import residuals

PUBLISHED = (
    "| MACE-MP-0, published (60 test hops) | 60 | 0.340 | | | 0.185 | | | |",
    "| the same without one outlier | 59 | 0.28 | | | 0.65 | | | |",
)

OUTLIER_EV = 0.5
"""An error beyond this asks for an explanation."""


def report(
    rows: Sequence[dict[str, Any]], literature: dict[str, float], unseen: dict[str, float]
) -> str:
    """Return figures and outliers of each potential as Markdown.

    Parameters
    ----------
    rows
        As :func:`workflows.distill.validate.validate` writes them.
    literature
        Barriers in eV by system.
    unseen
        The same of a band model that has not seen the host; it stands beside each potential.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    lines = [
        "| potential | hops | MAE (eV) | median (eV) | bias (eV) | R² | good or bad right | "
        "added for the 90 % interval (eV) | left-out hops inside |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model in models:
        mine = [row for row in rows if row["model"] == model]
        done = [row for row in mine if row["status"] == "done"]
        lines.append(_line(model, done, literature))
        far = max(done, key=lambda row: abs(row["barrier_ev"] - literature[row["system"]]))
        rest = [row for row in done if row is not far]
        lines.append(_line(f"the same without {far['system']}", rest, literature))
        soft = [row for row in done if literature[row["system"]] <= 1.5]
        lines.append(_line("the same, literature up to 1.5 eV", soft, literature))
        beside = [{**row, "barrier_ev": unseen[row["system"]]} for row in done]
        lines.append(_line(f"band model, on the hops of {model}", beside, literature))
    lines += [*PUBLISHED, ""]
    for model in models:
        mine = [row for row in rows if row["model"] == model]
        kinds = Counter(row.get("kind", row["status"]) for row in mine)
        said = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        cpu = sum(row["cpu_s"] for row in mine)
        lines.append(f"{model}: {len(mine)} hops in {cpu / 60:.0f} CPU minutes: {said}.")
    lines += ["", *_outliers(rows, literature)]
    return "\n".join(lines)


def _line(name: str, done: Sequence[dict[str, Any]], literature: dict[str, float]) -> str:
    predicted = np.array([row["barrier_ev"] for row in done])
    known = np.array([literature[row["system"]] for row in done])
    figures = metrics(predicted, known, resamples=10)
    errors = residuals(list(done), literature)
    below, above = interval(errors)
    return (
        f"| {name} | {len(done)} | {errors['mae_ev']:.3f} | {errors['median_ev']:.3f} | "
        f"{errors['bias_ev']:+.3f} | {figures['r2']:.2f} | {figures['good_accuracy']:.0%} | "
        f"{below:+.2f}, {above:+.2f} | {left_out_coverage(done, literature):.0%} |"
    )


def left_out_coverage(rows: Sequence[dict[str, Any]], literature: dict[str, float]) -> float:
    """Share of hops inside the interval that all the others give."""
    inside = 0
    for row in rows:
        others = [other for other in rows if other is not row]
        below, above = interval(residuals(others, literature))
        missing = literature[row["system"]] - row["barrier_ev"]
        inside += below <= missing <= above
    return inside / len(rows)


def _outliers(rows: Sequence[dict[str, Any]], literature: dict[str, float]) -> list[str]:
    lines = [
        f"| potential | hop beyond {OUTLIER_EV} eV | it says | literature | "
        "an end's host moved (Å) | ends differ (eV) | remarks |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        known = literature[row["system"]]
        if row["status"] == "done" and abs(row["barrier_ev"] - known) > OUTLIER_EV:
            differ = abs(row["forward_ev"] - row["backward_ev"])
            lines.append(
                f"| {row['model']} | {row['system']} ({row['structure_class'].lower()}) | "
                f"{row['barrier_ev']:.2f} | {known:.2f} | {row['host_moved_ang']:.2f} | "
                f"{differ:.2f} | {'; '.join(row['warnings']) or '–'} |"
            )
    return lines
