"""A screen on one page: what a group meeting or a paper's supplement needs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import combinations, islice
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from launch import report_figures, report_methods
from launch.dashboard.formats import FILTERS
from launch.run_log import all_runs
from stores.documents import LEVELS, BarrierDoc, CandidateDoc, Level, RankedMaterial
from stores.queries import HopView, MaterialView, Summary, find_material, ranked, summary
from stores.residuals import Pair, Residuals, pairs, residuals
from stores.screen_store import ScreenStore

MAX_PROFILES = 12
"""Panels of the figure of energy profiles."""

MAX_POINTS = 5000
"""Points of a parity plot."""


@dataclass
class Report:
    """What a report shows, read from a store once."""

    uri: str
    names: list[str]
    summary: Summary
    ranked: list[RankedMaterial]
    materials: list[MaterialView]
    residuals: list[Residuals]
    pairs: dict[tuple[Level, Level], list[Pair]]
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def profiles(self) -> list[tuple[RankedMaterial, HopView]]:
        """Limiting hops with an energy profile, best materials first."""
        found = []
        for doc, view in zip(self.ranked, self.materials, strict=True):
            for hop in view.hops:
                if hop.hop.hop_id == doc.limiting_hop_id and any(
                    estimate.profile for estimate in hop.estimates
                ):
                    found.append((doc, hop))
        return found[:MAX_PROFILES]

    @property
    def estimates(self) -> list[BarrierDoc]:
        """All estimates of the materials shown."""
        return [
            doc for material in self.materials for hop in material.hops for doc in hop.estimates
        ]


def gather(store: ScreenStore, *, top: int = 30, where: str | None = None) -> Report:
    """Read what a report shows.

    Parameters
    ----------
    store
        The screen's store.
    top
        Materials in the table and in the figure of the ranking.
    where
        Mongo filter on the ranking, as JSON.
    """
    docs = ranked(store, top, where)
    views = [find_material(store, doc.candidate_id) for doc in docs]
    known = [(doc, view) for doc, view in zip(docs, views, strict=True) if view is not None]
    shared = {
        (cheap, dear): list(islice(pairs(store, cheap, dear), MAX_POINTS))
        for cheap, dear in combinations(LEVELS, 2)
    }
    return Report(
        uri=store.uri,
        names=list(dict.fromkeys(doc["name"] for doc in all_runs(store.runs))),
        summary=summary(store),
        ranked=[doc for doc, _ in known],
        materials=[view for _, view in known],
        residuals=residuals(store),
        pairs={levels: found for levels, found in shared.items() if found},
    )


def render(report: Report) -> tuple[str, dict[str, bytes]]:
    """Return the page, and the figures as files: name → content."""
    figures = report_figures.draw(report.summary, report.ranked, report.profiles, report.pairs)
    files = {
        f"{name}.{kind}": report_figures.save(figure, kind)
        for name, figure in figures.items()
        for kind in ("svg", "png")
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "dashboard" / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(FILTERS)
    page = environment.get_template("report.html").render(
        report=report,
        images={name: _data_uri(files[f"{name}.svg"]) for name in figures},
        methods=report_methods.methods(_candidates(report), report.ranked, report.estimates),
        version=version("hopscreen"),
    )
    return page, files


def _candidates(report: Report) -> Sequence[CandidateDoc]:
    return [material.candidate for material in report.materials]


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
