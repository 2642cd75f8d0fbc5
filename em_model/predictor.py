"""The band model as the rest of the funnel sees it: load, predict."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols

from em_model.conformal import Calibration, Evidence
from em_model.data import Band
from em_model.descriptors import describe
from em_model.elements import numbers_of
from em_model.errors import BadInput
from em_model.graphs import GraphSettings, band_graph
from em_model.network import Encoder, NetworkSettings
from em_model.tabular import Tabular
from em_model.training import pick_device, read_tensors, write_tensors
from em_model.trunk import pooled_states, trunk_from

FORMAT = 2
"""Version of the model folder's layout."""

KIND = "ensemble"
"""``kind`` in the card of a model of ours."""

WEIGHTS = "model.safetensors"
CARD = "card.json"


@dataclass(frozen=True)
class Prediction:
    """A barrier in eV with its 90 % interval; ``in_domain`` is False for odd hops.

    The interval is None only for imported checkpoints, which come without a calibration.
    """

    id: str
    barrier_ev: float
    interval_90_ev: tuple[float, float] | None
    in_domain: bool


@dataclass(frozen=True, eq=False)
class Domain:
    """What the training set covered: atomic numbers, ions, the range of each path feature."""

    numbers: frozenset[int]
    ions: frozenset[str]
    low: np.ndarray
    high: np.ndarray

    TOLERATED = 0.03
    """Share of the features that may lie outside before a hop counts as odd."""

    @classmethod
    def fit(cls, bands: Sequence[Band], features: np.ndarray) -> Domain:
        """Ranges with a margin of a quarter of a deviation."""
        margin = 0.25 * features.std(axis=0)
        return cls(
            frozenset(int(z) for b in bands for z in numbers_of(b.species)),
            frozenset(b.working_ion for b in bands),
            features.min(axis=0) - margin,
            features.max(axis=0) + margin,
        )

    def holds(self, band: Band, features: np.ndarray) -> bool:
        """Whether the band is of a kind that the model has learned from."""
        outside = float(((features < self.low) | (features > self.high)).mean())
        return (
            band.working_ion in self.ions
            and self.numbers.issuperset(numbers_of(band.species).tolist())
            and outside <= self.TOLERATED
        )


@dataclass(frozen=True, eq=False)
class BandModel:
    """Forest and Gaussian process with their calibration.

    The process reads the states of a pre-trained ``trunk``. ``tabular`` has seen all training
    bands; ``out_of_fold`` is what others like it, one a host-grouped fold, said of the bands
    that they had not seen, sorted by the bands' ids. ``card`` is the model card's content,
    ``sha256`` that of the weights file.
    """

    name: str
    sha256: str
    card: dict[str, Any]
    trunk: Encoder | None
    tabular: Tabular
    out_of_fold: Evidence
    calibration: Calibration
    domain: Domain
    graph: GraphSettings = field(default_factory=GraphSettings)

    @classmethod
    def load(cls, name_or_path: str | Path = "default", device: str = "auto") -> BandModel:
        """Load a model by name, shipped or the user's, or from its folder.

        Parameters
        ----------
        name_or_path
            Name of a model (see :func:`known_models`) or a folder that holds
            ``model.safetensors`` and ``card.json``.
        device
            ``auto``, ``cpu``, ``cuda`` …

        Raises
        ------
        BadInput
            When there is no such model, or its files are damaged or of another version.
        """
        folder = find_model(name_or_path)
        card = read_card(folder)
        if card.get("kind", KIND) != KIND:
            raise BadInput(
                f"model: {card.get('name')!r} is an imported checkpoint without intervals; "
                "a screen needs a model of our own kind"
            )
        weights = folder / WEIGHTS
        tensors = read_tensors(weights)
        digest = sha256(weights.read_bytes()).hexdigest()
        if card.get("sha256") != digest:
            raise BadInput(f"{weights}: damaged: its SHA-256 is not the card's; install it anew")
        chosen = pick_device(device)
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            head, _, tail = key.partition("/")
            parts.setdefault(head, {})[tail] = value
        try:
            network = NetworkSettings(**card["network"])
            return cls(
                name=str(card["name"]),
                sha256=digest,
                card=card,
                trunk=trunk_from(parts["trunk"], network, chosen) if "trunk" in parts else None,
                tabular=Tabular.from_tensors(parts["tabular"]),
                out_of_fold=Evidence(
                    parts["out_of_fold"]["roots"].numpy(),
                    parts["out_of_fold"]["spread"].numpy(),
                    tuple(chemical_symbols[z] for z in parts["out_of_fold"]["ion"].tolist()),
                ),
                calibration=Calibration.from_dict(card["calibration"]),
                domain=Domain(
                    frozenset(card["domain"]["numbers"]),
                    frozenset(card["domain"]["ions"]),
                    parts["domain"]["low"].numpy(),
                    parts["domain"]["high"].numpy(),
                ),
                graph=GraphSettings(**card["graph"]),
            )
        except (KeyError, TypeError, RuntimeError) as error:
            what = " ".join(str(error).split())[:200]
            raise BadInput(f"{folder}: weights and card do not fit ({what})") from error

    def save(self, folder: Path) -> None:
        """Write weights and card (``card.json`` last; its hash seals the folder)."""
        tensors = {f"tabular/{name}": value for name, value in self.tabular.tensors().items()}
        if self.trunk is not None:
            tensors |= {f"trunk/{k}": v.half() for k, v in self.trunk.state_dict().items()}
        tensors["out_of_fold/roots"] = torch.from_numpy(self.out_of_fold.roots)
        tensors["out_of_fold/spread"] = torch.from_numpy(self.out_of_fold.spread)
        ions = [atomic_numbers[ion] for ion in self.out_of_fold.ions]
        tensors["out_of_fold/ion"] = torch.tensor(ions)
        tensors["domain/low"] = torch.from_numpy(self.domain.low)
        tensors["domain/high"] = torch.from_numpy(self.domain.high)
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS, tensors, {"format": str(FORMAT)})
        card = {
            **self.card,
            "format": FORMAT,
            "kind": KIND,
            "name": self.name,
            "sha256": sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
            "network": self.card["recipe"]["network"],
            "graph": asdict(self.graph),
            "calibration": self.calibration.as_dict(),
            "domain": {
                "numbers": sorted(self.domain.numbers),
                "ions": sorted(self.domain.ions),
            },
        }
        text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
        (folder / CARD).write_text(text, encoding="utf-8")

    def predict(
        self,
        bands: Sequence[Band],
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Predict the barriers of bands, in the order given.

        Parameters
        ----------
        bands
            With five sites on the path each.
        batch_size
            Bands whose graphs are held at a time; a forward pass is bounded by atoms besides.
        progress
            Called with the number of bands done, after each batch.

        Raises
        ------
        BadInput
            When a band has not five sites on its path.
        """
        out: list[Prediction] = []
        for begin in range(0, len(bands), max(1, batch_size)):
            part = bands[begin : begin + max(1, batch_size)]
            _need_five_sites(part)
            pools = None
            if self.trunk is not None:
                pools = pooled_states(self.trunk, [band_graph(b, self.graph) for b in part])
            described = describe(part, pools)
            roots, spread = self.tabular.roots(described)
            evidence = Evidence(roots, spread, tuple(b.working_ion for b in part))
            values, intervals = self.calibration.apply(evidence)
            out += [
                Prediction(
                    band.id,
                    float(v),
                    (float(i[0]), float(i[1])),
                    self.domain.holds(band, path),
                )
                for band, path, v, i in zip(part, described.path, values, intervals, strict=True)
            ]
            if progress:
                progress(len(out))
        return out


def _need_five_sites(bands: Sequence[Band]) -> None:
    for band in bands:
        if len(band.band_sites) != 5:
            raise BadInput(
                f"band {band.id}: band_sites: the model needs 5 sites (initial, three "
                f"between, final), got {len(band.band_sites)}"
            )


def shipped_folder() -> Path:
    """Where the shipped models live."""
    return Path(str(files("em_model") / "weights"))


def user_models() -> Path:
    """Folder of imported and fine-tuned models: ``$HOPSCREEN_MODELS`` or the user's data folder."""
    if folder := os.environ.get("HOPSCREEN_MODELS"):
        return Path(folder)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "hopscreen" / "models"


def known_models() -> dict[str, Path]:
    """Folders of shipped and user's models by name, sorted; a shipped name wins."""
    found = {
        path.parent.name: path.parent
        for root in (user_models(), shipped_folder())
        for path in root.glob(f"*/{CARD}")
    }
    return dict(sorted(found.items()))


def find_model(name_or_path: str | Path) -> Path:
    """Folder of a model given by name or path.

    Raises
    ------
    BadInput
        When there is none.
    """
    path = Path(name_or_path)
    if (path / CARD).is_file():
        return path
    models = known_models()
    if str(name_or_path) in models:
        return models[str(name_or_path)]
    raise BadInput(
        f"model: {str(name_or_path)!r} is neither a known model "
        f"({', '.join(models) or 'none'}) nor a folder with {CARD}"
    )


def read_card(folder: Path) -> dict[str, Any]:
    """Read a model card.

    Raises
    ------
    BadInput
        When it is damaged or of another version.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder / CARD}: cannot be read; install the model anew") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise BadInput(f"{folder / CARD}: format: need {FORMAT}; made by another version")
    return card
