"""The comparison of models as tables, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.output import table


@dataclass(frozen=True)
class Section:
    """A table with a note under it; the first column is of words."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str

    def as_table(self) -> Any:
        """Return it for the terminal."""
        shown = table(*self.columns, left=self.columns[:1])
        for row in self.rows:
            shown.add_row(*row)
        return shown

    def as_markdown(self) -> str:
        """Return it for a page."""
        rule = "|---|" + "---:|" * (len(self.columns) - 1)
        lines = ["| " + " | ".join(row) + " |" for row in (self.columns, *self.rows)]
        return "\n".join([lines[0], rule, *lines[1:], "", self.note, ""])


def report(rows: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Return the sections: all models, scenarios, learning curves, structure classes.

    Parameters
    ----------
    rows
        From :func:`em_model.paper.compare.rank`.
    """
    cases = {row["model"]: row["by_scenario"] for row in rows if row.get("by_scenario")}
    curves = {row["model"]: row["learning_curve"] for row in rows if row.get("learning_curve")}
    sections = [_models(rows), _scenarios(cases)]
    if curves:
        sections.append(_curves(curves))
    sections.append(_classes(rows))
    return sections


def evaluation(result: Mapping[str, Any]) -> list[Section]:
    """Return the tables of one evaluation: confusion, errors by group.

    Parameters
    ----------
    result
        From :func:`em_model.evaluate.evaluate`.
    """
    from em_model.breakdown import SCENARIOS  # its libraries would slow every --help down

    confusion = result["confusion"]
    sections = [
        Section(
            (f"threshold {result['threshold_ev']:g} eV", "called good", "called bad"),
            tuple(
                (kind, *(str(confusion[f"{kind}_called_{called}"]) for called in ("good", "bad")))
                for kind in ("good", "bad")
            ),
            "",
        )
    ]
    titles = {
        "by_scenario": "scenario",
        "by_working_ion": "working ion",
        "by_structure_class": "structure class",
    }
    for key, title in titles.items():
        if key in result:
            rows = tuple(
                (
                    f"{name}: {SCENARIOS[name]}" if key == "by_scenario" else name,
                    str(figures["n"]),
                    *(f"{figures[k]:.3f}" for k in ("mae_ev", "median_error_ev", "bias_ev")),
                )
                for name, figures in result[key].items()
            )
            heads = (title, "bands", "MAE (eV)", "median error (eV)", "bias (eV)")
            sections.append(Section(heads, rows, ""))
    return sections


def _models(rows: Sequence[Mapping[str, Any]]) -> Section:
    measured: dict[str, list[str]] = {}
    shown = []
    for row in rows:
        measured.setdefault(row["split"], []).append(row["model"])
        apart = (row.get("paths_told_apart") or {}).get("share")
        shown.append(
            (
                row["model"],
                str(row["n"]),
                f"{row['mae_ev']:.3f} ± {row['mae_se_ev']:.3f}",
                _number(row.get("mae_over_model3"), "{:.2f}"),
                f"{row['r2']:.3f} ± {row['r2_se']:.3f}",
                f"{row['good_accuracy']:.1%}",
                _number(apart, "{:.1%}"),
                _number(row.get("interval_coverage_90"), "{:.1%}"),
            )
        )
    splits = "; ".join(f"{', '.join(names)}: {split}" for split, names in measured.items())
    return Section(
        ("model", "bands", "MAE (eV)", "÷ MODEL-3", "R²", "good/bad", "told apart", "in interval"),
        tuple(shown),
        f"{splits}. ÷ MODEL-3: error over that of MODEL-3 on the bands of both. Told apart: pairs "
        "of paths of one host in the right order. In interval: 90 % intervals that hold the "
        "barrier.",
    )


def _scenarios(cases: Mapping[str, Mapping[str, Any]]) -> Section:
    from em_model.breakdown import SCENARIOS

    def cell(figures: Mapping[str, Any] | None) -> str:
        return f"{figures['mae_ev']:.3f} ({figures['n']})" if figures else ""

    rows = tuple(
        (model, *(cell(row.get(key)) for key in SCENARIOS)) for model, row in cases.items()
    )
    words = "; ".join(f"{key}: {what}" for key, what in SCENARIOS.items())
    return Section(
        ("MAE in eV (bands)", *SCENARIOS), rows, f"{words}. A is measured on folds dealt by path."
    )


def _curves(curves: Mapping[str, Mapping[int, float]]) -> Section:
    sizes = sorted({n for curve in curves.values() for n in curve})
    rows = tuple(
        (model, *(_number(curve.get(n), "{:.3f}") for n in sizes))
        for model, curve in curves.items()
    )
    return Section(
        ("MAE in eV by training bands", *map(str, sizes)), rows, "On the same unseen hosts each."
    )


def _classes(rows: Sequence[Mapping[str, Any]]) -> Section:
    whole = [row for row in rows if row.get("by_structure_class")]
    most = max(row["n"] for row in whole)
    whole = [row for row in whole if row["n"] == most]
    names = list(whole[0]["by_structure_class"])
    body = tuple(
        (
            f"{name} ({whole[0]['by_structure_class'][name]['n']})",
            *(f"{row['by_structure_class'][name]['mae_ev']:.3f}" for row in whole),
        )
        for name in names
    )
    return Section(
        ("MAE in eV by structure class (bands)", *(row["model"] for row in whole)),
        body,
        "Classes as the source names them; those of fewer than ten bands together as other.",
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
