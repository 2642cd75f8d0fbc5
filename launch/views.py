"""Results as tables that a person likes to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launch.output import table
from launch.profile_plot import draw_profile
from workflows.progress import duration

if TYPE_CHECKING:
    from launch.pace import Pace
    from stores.documents import BarrierDoc, DimensionLimit, RankedMaterial
    from stores.queries import FailureGroup, HopView, MaterialView, Summary

LEVEL_TITLES = {"band": "band model", "mlip": "MACE-NEB", "dft": "DFT-NEB"}


def level_title(level: str, label: str | None = None) -> str:
    """Name a level for people, with the warning that belongs to the number."""
    return LEVEL_TITLES[level] + (f" ({label})" if label else "")


def interval(bounds: Sequence[float] | None) -> str:
    """Write a 90 % interval in eV."""
    return f"{bounds[0]:.2f} … {bounds[1]:.2f}" if bounds else "–"


MORE_COLUMNS = {
    "energy_above_hull_ev": "above hull / eV",
    "band_gap_ev": "gap / eV",
    "cost_usd_per_kg": "USD/kg",
    "hazard": "hazard",
}


def rank_table(docs: Sequence[RankedMaterial], fields: Iterable[str] = ()) -> Any:
    """Return the ranking as a table, with the columns of ``fields`` in the diffusivity's place."""
    more = [name for name in MORE_COLUMNS if name in set(fields)]
    temperatures = {doc.temperature_k for doc in docs}
    at = f" {temperatures.pop():g} K" if len(temperatures) == 1 else ""
    disagree = any(doc.levels_disagree for doc in docs)
    made = table(
        "#", "material", "formula", "ion", "barrier / eV", "90 % interval", "rests on",
        *([] if more else ["dim.", f"D{at} / cm²/s"]), *(MORE_COLUMNS[name] for name in more),
        *(["note"] if disagree else []),
        left=("material", "formula", "ion", "rests on", "note"),
    )  # fmt: skip
    for doc in docs:
        made.add_row(
            str(doc.rank),
            doc.material_id,
            doc.formula,
            doc.working_ion,
            f"{doc.barrier_ev:.3f}",
            interval(doc.interval_90_ev),
            level_title(doc.level, doc.label) + ("" if doc.uncalibrated_ev is None else " (cal.)"),
            *([] if more else [f"{doc.dimension}D", f"{doc.diffusivity_cm2_s:.1e}"]),
            *(_number(getattr(doc, name)) for name in more),
            *(["levels disagree" if doc.levels_disagree else ""] if disagree else []),
        )
    return made


def funnel_table(summary: Summary, paces: Mapping[str, Pace] | None = None) -> Any:
    """Return how many came through each stage, what fell where, and with ``paces`` how fast."""
    moving = ("running", "rate / h", "time left") if paces else ()
    made = table(
        "stage", "done", "failed", *moving[:1], "waiting", *moving[1:], "what fell",
        left=("stage", "what fell"),
    )  # fmt: skip
    names = {
        "candidates": "candidates",
        "hops": "hosts with hops",
        "ranked": "ranked materials",
        **LEVEL_TITLES,
    }
    kinds: dict[str, list[str]] = {}
    for group in summary.failures:
        kinds.setdefault(group.stage, []).append(f"{group.count} {group.kind}")
    for stage in summary.stages:
        fell = kinds.get(stage.stage, [])
        if stage.stage == "candidates":
            fell = [f"{count} by {name}" for name, count in summary.rejected.items()] + fell
        pace = paces[stage.stage] if paces else None
        waiting = pace.waiting if pace else stage.waiting
        rate = _rate(pace.per_hour) if pace and pace.per_hour else ""
        left = duration(pace.left_s) if pace and pace.left_s else ""
        cells = [_count(pace.running), _count(waiting), rate, left] if pace else [_count(waiting)]
        made.add_row(
            names.get(stage.stage, stage.stage),
            str(stage.done),
            str(stage.failed),
            *cells,
            ", ".join(fell),
        )
    return made


def _rate(per_hour: float) -> str:
    return f"{per_hour:,.0f}" if per_hour >= 100 else f"{per_hour:.2g}"


def _count(number: int | None) -> str:
    return "" if number is None else str(number)


def submission_lines(states: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say of each submission how its jobs stand, and of failed ones why and what to type."""
    lines = []
    for state in states:
        jobs = state["jobs"]
        if jobs:
            stand = ", ".join(f"{count} {name}" for name, count in jobs.items())
            stand += f"; {state['said']}" if state["said"] else ""
        else:
            stand = state["said"] or "unknown there"
        lines.append(f"{state['name']}: {state['manager']} ({state['where']}): {stand}")
        for group in state["failures"]:
            where = f"; look into {group['folder']}" if group["folder"] else ""
            lines.append(f"  {group['count']} × {group['job']}: {group['error']}{where}")
        lines += [f"  to run it again: {command}" for command in state["retry"]]
    return lines


def refusal_lines(summary: Summary) -> list[str]:
    """Say of each filter how many candidates it refused, with one of them and why."""
    return [
        f"refused: {summary.rejected[name]} by {name}, e.g. {reason}"
        for name, reason in summary.rejected_examples.items()
    ]


def failure_lines(groups: Iterable[FailureGroup]) -> list[str]:
    """Say of each kind of failure how often, why, and where to look."""
    lines = []
    for group in groups:
        where = f"; look into {group.example.folder}" if group.example.folder else ""
        lines.append(
            f"{LEVEL_TITLES.get(group.stage, group.stage)}: {group.count} × {group.kind}, "
            f"e.g. {group.example_id}: {group.example.message}{where}"
        )
    return lines


def material_views(view: MaterialView) -> list[Any]:
    """Return what is known of a material: limits, hops, profile of the limiting hop."""
    doc = view.candidate
    items: list[Any] = [f"{doc.formula}  {doc.candidate_id}  from {doc.source}"]
    if doc.reference:
        items.append(f"reference: {doc.reference}")
    if doc.error:
        items.append(f"{doc.status}: {doc.error.kind}: {doc.error.message}")
    if doc.inserted:
        items.append(f"sites of the ion: {_inserted(doc.inserted)}; its hops are dilute")
    limiting: str | None = None
    marks: dict[str, str] = {}
    if view.ranked:
        items.append(_limits(view.ranked))
        limiting = view.ranked.limiting_hop_id
        if view.ranked.disagreeing_hop_ids:
            items.append(
                "levels disagree beyond their intervals, look at hop "
                + ", ".join(view.ranked.disagreeing_hop_ids)
            )
        alternatives = view.ranked.limits[str(view.ranked.dimension)].alternatives
        marks = {**dict.fromkeys(alternatives, "may limit"), limiting: "◄ limits"}
    elif not doc.error:
        items.append("not ranked")
    if view.hops:
        items.append(_hops(view.hops, marks))
    for hop in view.hops:
        if hop.hop.hop_id == limiting and hop.best and hop.best.profile:
            items += ["limiting hop: " + _title(hop.best), draw_profile(hop.best.profile)]
    return items


def hop_views(view: HopView) -> list[Any]:
    """Return what is known of a hop: its estimates, and the profile of each."""
    hop = view.hop
    translation = " ".join(f"{n:+d}" for n in hop.translation)
    items: list[Any] = [
        f"hop {hop.hop_id} of {hop.candidate_id}: site {hop.sites[0]} to site "
        f"{hop.sites[1]} at ({translation}), {hop.length_ang:.3f} Å, "
        f"{hop.multiplicity} equivalent, {hop.mode}"
    ]
    made = table(
        "level", "barrier / eV", "90 % interval", "forward", "backward", "atoms", "status",
        left=("level", "status"),
    )  # fmt: skip
    for doc in view.estimates:
        made.add_row(
            level_title(doc.level, doc.label),
            _ev(doc.barrier_ev),
            interval(doc.interval_90_ev),
            _ev(doc.forward_ev),
            _ev(doc.backward_ev),
            str(doc.num_atoms or ""),
            _state(doc),
        )
    items.append(made)
    for doc in view.estimates:
        if doc.profile:
            items += [_title(doc), draw_profile(doc.profile)]
    return items


def hop_table(hops: Sequence[dict[str, Any]]) -> Any:
    """Return hops of one structure as the commands give them, with barriers if they have any."""
    predicted = any("barrier_ev" in hop for hop in hops)
    headings = ["hop", "length / Å", "equivalents", "sites", "translation"]
    headings += ["barrier / eV", "90 % interval", "note"] if predicted else []
    made = table(*headings, left=("hop", "note"))
    for hop in hops:
        row = [
            hop["hop_id"],
            f"{hop['length_ang']:.3f}",
            str(hop["multiplicity"]),
            "{} → {}".format(*hop["sites"]),
            " ".join(map(str, hop["translation"])),
        ]
        if predicted:
            row += [_ev(hop["barrier_ev"]), interval(hop["interval_90_ev"])]
            row.append(hop["error"] or ("" if hop["in_domain"] else "unlike the training set"))
        made.add_row(*row)
    return made


def _limits(ranked: RankedMaterial) -> Any:
    made = table(
        "limit in", "barrier / eV", "90 % interval", "rests on", "hop", "may limit too",
        title=f"rank {ranked.rank}", left=("limit in", "rests on", "hop"),
    )  # fmt: skip
    for limit in ranked.limits.values():
        made.add_row(
            f"{limit.dimension}D",
            f"{limit.barrier_ev:.3f}",
            interval(limit.interval_90_ev),
            level_title(limit.level, limit.label) + _calibrated(limit),
            limit.limiting_hop_id,
            str(len(limit.alternatives)),
        )
    return made


def _calibrated(limit: DimensionLimit) -> str:
    """Say what the level itself gave, where dearer ones moved it."""
    raw = limit.uncalibrated_ev
    return "" if raw is None else f", calibrated from {raw:.3f}"


def _inserted(origin: Mapping[str, Any]) -> str:
    if origin["method"] == "twin":
        return f"of {origin['twin']}, whose framework is {origin['rms_ang']:.2f} Å away"
    return {"given": "as given", "bond_valence": "by bond valence"}[origin["method"]]


def _hops(hops: Sequence[HopView], marks: Mapping[str, str]) -> Any:
    levels = [
        level for level in LEVEL_TITLES if any(e.level == level for h in hops for e in h.estimates)
    ]
    made = table(
        "hop", "length / Å", "equivalents", "reaches", *(LEVEL_TITLES[n] for n in levels), "",
        left=("hop", ""),
    )  # fmt: skip
    for view in hops:
        cells = []
        for level in levels:
            docs = [doc for doc in view.estimates if doc.level == level]
            cells.append(" / ".join(_estimate(doc) for doc in docs) or "–")
        made.add_row(
            view.hop.hop_id,
            f"{view.hop.length_ang:.3f}",
            str(view.hop.multiplicity),
            f"{view.hop.dimension}D",
            *cells,
            marks.get(view.hop.hop_id, ""),
        )
    return made


def _estimate(doc: BarrierDoc) -> str:
    if doc.barrier_ev is None:
        return doc.error.kind if doc.error else doc.status
    return f"{doc.barrier_ev:.3f}" + (f" ({doc.label})" if doc.label else "")


def _state(doc: BarrierDoc) -> str:
    if doc.error:
        return f"{doc.status}: {doc.error.kind}"
    notes = list(doc.warnings) + ([] if doc.in_domain else ["unlike the training set"])
    return "; ".join([doc.status, *notes])


def _title(doc: BarrierDoc) -> str:
    model = doc.provenance.model
    name = f" with {model.name}" if model else ""
    return f"{level_title(doc.level, doc.label)}{name}, hop {doc.hop_id}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _ev(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
