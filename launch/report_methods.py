"""How the numbers of a report were made: a paragraph for a paper, versions, and what to cite.

Everything is read from the documents: a sentence stands here only where an estimate that the
report shows was made that way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stores.documents import LEVELS, BarrierDoc, CandidateDoc, RankedDoc

REFERENCES = {
    "pymatgen": "S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013)",
    "spglib": "A. Togo, K. Shinohara, I. Tanaka, Sci. Technol. Adv. Mater. Meth. 4, 2384822 (2024)",
    "dimension": "P. M. Larsen, M. Pandey, M. Strange, K. W. Jacobsen, "
    "Phys. Rev. Materials 3, 034003 (2019)",
    "jobflow": "A. S. Rosen et al., J. Open Source Softw. 9, 5995 (2024)",
    "mp": "A. Jain et al., APL Mater. 1, 011002 (2013)",
    "band_model": "R. Devi, K. T. Butler, G. Sai Gautam, arXiv:2508.06436 (2025)",
    "band_data": "R. Devi, A. Balasubramanian, K. T. Butler, G. Sai Gautam, "
    "arXiv:2508.06459 (2025)",
    "alignn": "K. Choudhary, B. DeCost, npj Comput. Mater. 7, 185 (2021)",
    "ci_neb": "G. Henkelman, B. P. Uberuaga, H. Jónsson, J. Chem. Phys. 113, 9901 (2000)",
    "tangent": "G. Henkelman, H. Jónsson, J. Chem. Phys. 113, 9978 (2000)",
    "idpp": "S. Smidstrup, A. Pedersen, K. Stokbro, H. Jónsson, J. Chem. Phys. 140, 214106 (2014)",
    "ase": "A. H. Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017)",
    "mace": "I. Batatia et al., Adv. Neural Inf. Process. Syst. 35 (2022)",
    "mace_mp": "I. Batatia et al., arXiv:2401.00096 (2023)",
    "chgnet": "B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023)",
    "gpaw": "J. J. Mortensen et al., J. Chem. Phys. 160, 092503 (2024)",
    "pbe": "J. P. Perdew, K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996)",
    "vasp": "G. Kresse, J. Furthmüller, Phys. Rev. B 54, 11169 (1996)",
    "vineyard": "G. H. Vineyard, J. Phys. Chem. Solids 3, 121 (1957)",
}
"""Short name → what to cite."""


@dataclass(frozen=True)
class Methods:
    """The methods of a report.

    Attributes
    ----------
    sentences
        Each with the numbers of its references in brackets.
    references
        What the numbers stand for, from 1.
    versions
        Package and its version; several where the estimates differ.
    models
        Level, name and SHA-256 of what made the estimates, and how many it made.
    """

    sentences: list[str]
    references: list[str]
    versions: list[tuple[str, str]]
    models: list[tuple[str, str, str, int]]


class _Citations:
    """Numbers references by their first use."""

    def __init__(self) -> None:
        self.used: list[str] = []

    def __call__(self, *names: str) -> str:
        for name in names:
            if name not in self.used:
                self.used.append(name)
        return "[" + ", ".join(str(self.used.index(name) + 1) for name in names) + "]"


def methods(
    candidates: Sequence[CandidateDoc], ranked: Sequence[RankedDoc], estimates: Sequence[BarrierDoc]
) -> Methods:
    """Describe how these materials, ranked by these estimates, came about."""
    cite = _Citations()
    sentences = []
    if candidates:
        sentences.append(_sources(candidates, cite))
    sentences.append(
        "Symmetrically distinct hops are the orbits of the edges between sites of the working "
        f"ion under the space group {cite('spglib', 'pymatgen')}, up to the length at which the "
        "ion percolates."
    )
    done = [doc for doc in estimates if doc.status == "done"]
    for level, describe in zip(LEVELS, (_band, _neb, _neb), strict=True):
        if docs := [doc for doc in done if doc.level == level]:
            sentences += describe(docs, cite)
    if ranked:
        sentences += _ranking(ranked, cite)
    sentences.append(
        f"Calculations were run with hopscreen on jobflow {cite('jobflow')}; "
        "each result is kept with its settings and versions."
    )
    return Methods(
        sentences=sentences,
        references=[REFERENCES[name] for name in cite.used],
        versions=_versions(done),
        models=_models(done),
    )


def _sources(candidates: Sequence[CandidateDoc], cite: _Citations) -> str:
    counts = Counter(doc.source for doc in candidates)
    ions = sorted({doc.working_ion for doc in candidates})
    named = ", ".join(
        f"{name.replace('_', ' ')} {cite('mp')}" if name == "materials_project" else name
        for name in sorted(counts)
    )
    return f"Hosts of {', '.join(ions)} came from: {named}."


def _band(docs: Sequence[BarrierDoc], cite: _Citations) -> list[str]:
    return [
        f"The hops of the materials shown ({len(docs)} estimates) were judged by a graph neural "
        "network that sees the ion at several places of its path at once, after "
        f"{cite('band_model', 'alignn')}, trained on barriers from the literature "
        f"{cite('band_data')}; its 90 % intervals were calibrated by cross-validation over hosts."
    ]


def _neb(docs: Sequence[BarrierDoc], cite: _Citations) -> list[str]:
    level = docs[0].level
    title = "an interatomic potential" if level == "mlip" else "density-functional theory"
    engines = "; ".join(
        f"{name}{cite(*references) if references else ''}" for name, references in _engines(docs)
    )
    sentences = [
        f"For {len(docs)} hop{'s' if len(docs) > 1 else ''}, climbing-image nudged elastic bands "
        f"{cite('ci_neb', 'tangent')} from IDPP paths {cite('idpp')} were relaxed with {title} "
        f"({engines}) through ASE {cite('ase')}, with the ends relaxed at fixed cell"
        f"{_converged(docs)}."
    ]
    if labels := sorted({doc.label for doc in docs if doc.label}):
        sentences.append(
            f"Estimates marked {', '.join(labels)} use reduced settings and are no reference."
        )
    return sentences


def _engines(docs: Iterable[BarrierDoc]) -> list[tuple[str, list[str]]]:
    """Name the engines in use, with what to cite for each."""
    found: dict[str, list[str]] = {}
    for doc in docs:
        name = doc.provenance.model.name if doc.provenance.model else "unknown"
        engine = f"{doc.settings.get('engine', '')} {name}".lower()
        references = {
            "chgnet": ["chgnet"],
            "gpaw": ["gpaw"],
            "vasp": ["vasp"],
            # The small potential that ships is a MACE model distilled from CHGNet.
            "mini": ["mace", "chgnet"],
            "mace": ["mace"],
            "mp": ["mace_mp"],
        }
        cited = [one for key, several in references.items() if key in engine for one in several]
        if "pbe" in engine or str(_detail(doc).get("xc", "")).lower() == "pbe":
            cited.append("pbe")
        found[name] = list(dict.fromkeys(cited))
    return sorted((f"{name} " if cited else name, cited) for name, cited in found.items())


def _detail(doc: BarrierDoc) -> dict[str, Any]:
    return doc.provenance.model.detail if doc.provenance.model else {}


def _converged(docs: Iterable[BarrierDoc]) -> str:
    limits = {doc.settings.get("neb", {}).get("fmax_ev_ang") for doc in docs} - {None}
    if not limits:
        return ""
    return f", until forces fell below {' or '.join(f'{one:g}' for one in sorted(limits))} eV/Å"


def _ranking(ranked: Sequence[RankedDoc], cite: _Citations) -> list[str]:
    dimensions = sorted({doc.dimension for doc in ranked})
    temperatures = sorted({doc.temperature_k for doc in ranked})
    sentences = [
        "A material is ranked by the lowest energy at which its open hops connect the crystal to "
        f"itself in {' or '.join(map(str, dimensions))} "
        f"dimension{'s' if dimensions != [1] else ''} {cite('dimension')}; the best level of each "
        "hop decides, and the intervals of hops become bounds of the material.",
        "Diffusivities at "
        f"{' and '.join(f'{one:g}' for one in temperatures)} K are l²ν exp(−E/kT)/2d with "
        f"ν = 10¹³ Hz {cite('vineyard')}, an order of magnitude.",
    ]
    if any(doc.uncalibrated_ev is not None for doc in ranked):
        sentences.append(
            "Estimates of cheap levels were moved by what dearer levels of the same store "
            "measured of their residuals."
        )
    return sentences


def _versions(docs: Iterable[BarrierDoc]) -> list[tuple[str, str]]:
    found: dict[str, set[str]] = {}
    for doc in docs:
        for package, number in doc.provenance.versions.items():
            found.setdefault(package, set()).add(number)
    return [(package, ", ".join(sorted(numbers))) for package, numbers in sorted(found.items())]


def _models(docs: Iterable[BarrierDoc]) -> list[tuple[str, str, str, int]]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for doc in docs:
        if model := doc.provenance.model:
            counts[doc.level, model.name, model.sha256 or ""] += 1
    order = sorted(counts, key=lambda key: (LEVELS.index(key[0]), key))
    return [(*key, counts[key]) for key in order]
