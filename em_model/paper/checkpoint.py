"""The authors' MODEL-3 checkpoints: read safely, kept as safetensors, predicted without DGL."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from em_model.data import Band
from em_model.errors import BadInput
from em_model.paper.jarvis_graph import band_graph, collate
from em_model.paper.published import AlignnConfig, PublishedModel3
from em_model.predictor import (
    CARD,
    FORMAT,
    WEIGHTS,
    Prediction,
    read_card,
    shipped_folder,
    user_models,
)
from em_model.training import pick_device, read_tensors, write_tensors

KIND = "model3-published"
"""``kind`` in the card of an imported model."""

MAX_UNPACKED_BYTES = 1 << 30
"""A checkpoint of the published size has 16 MB; far more is a mistake or a trap."""


@dataclass(frozen=True)
class Scale:
    """How the training barriers became the network's targets.

    The authors standardised the barriers and then mapped the standardised values to [−1, 1]:
    s = (E − mean) / std, t = 2 (s − low) / (high − low) − 1.

    Attributes
    ----------
    mean_ev, std_ev
        Statistics of the training barriers.
    low, high
        Least and greatest standardised value.
    """

    mean_ev: float = 0.0
    std_ev: float = 1.0
    low: float = -1.0
    high: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Scale:
        """Read ``none``, ``train`` or ``MEAN,STD,MIN,MAX``.

        Raises
        ------
        BadInput
            When the text is none of these.
        """
        if text in NAMED_SCALES:
            return NAMED_SCALES[text]
        try:
            mean, std, low, high = map(float, text.split(","))
        except ValueError:
            raise BadInput(
                f"--scale: {text!r} is none of none, train, MEAN,STD,MIN,MAX (four numbers)"
            ) from None
        if not (std > 0 and high > low and all(abs(v) < 1e6 for v in (mean, std, low, high))):
            raise BadInput(f"--scale: {text!r}: need STD > 0 and MIN < MAX (standardised values)")
        return cls(mean, std, low, high)

    def to_ev(self, output: Tensor) -> Tensor:
        """Barriers in eV of the network's outputs."""
        standardised = self.low + (output + 1) * (self.high - self.low) / 2
        return standardised * self.std_ev + self.mean_ev


def _train_scale() -> Scale:
    # Statistics of the 559 published training barriers (0.0035 to 8.77 eV).
    mean, std = 0.8441084078711989, 0.8397623931457219
    return Scale(mean, std, (0.0035 - mean) / std, (8.77 - mean) / std)


NAMED_SCALES: Mapping[str, Scale] = {"none": Scale(), "train": _train_scale()}


def import_checkpoint(
    path: str | Path, name: str, scale: str = "train", *, overwrite: bool = False
) -> Path:
    """Turn one of the authors' checkpoints into a model of ours, known by ``name``.

    Parameters
    ----------
    path
        ``best_model.pt.bz2`` or the unpacked ``.pt``: ``{'model': state_dict}``.
    name
        Name to call it by; letters, digits, dot, dash and underscore.
    scale
        See :meth:`Scale.parse`; ``none`` gives the raw output of the network.
    overwrite
        Replace an imported model of this name. Shipped models are never replaced.

    Returns
    -------
    pathlib.Path
        The new folder with ``card.json`` and ``model.safetensors``.

    Raises
    ------
    BadInput
        When the file is no such checkpoint, or the name or the scale cannot be used.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise BadInput(f"--name: {name!r}: use letters, digits, dot, dash and underscore")
    if name == "default" or (shipped_folder() / name).exists():
        raise BadInput(f"--name: {name!r} is a shipped model; choose another name")
    target = user_models() / name
    if target.exists() and not overwrite:
        raise BadInput(f"--name: {name!r} is taken ({target}); choose another, or overwrite it")
    parsed = Scale.parse(scale)
    data = _read(Path(path))
    state = _state_dict(data, path)
    network = _network(state, path)
    card = {
        "format": FORMAT,
        "kind": KIND,
        "name": name,
        "architecture": "MODEL-3, 2023 ALIGNN with BatchNorm",
        "source": {"file": Path(path).name, "sha256": hashlib.sha256(data).hexdigest()},
        "reference": "arXiv 2508.06436; npj Computational Materials (2026)",
        "graph": {"cutoff_ang": 6.0, "neighbours": 12},
        "config": asdict(network.config),
        "parameters": sum(p.numel() for p in network.parameters()),
        "scale": {"name": scale, **asdict(parsed)},
        "interval": None,
        "versions": {"torch": torch.__version__, "hopscreen": version("hopscreen")},
    }
    try:
        _write(target, card, network.state_dict())
    except OSError as error:
        raise BadInput(
            f"{target}: cannot be written ({error.strerror}); set HOPSCREEN_MODELS to a folder "
            "that can"
        ) from error
    return target


class PublishedPredictor:
    """An imported checkpoint that answers as :class:`em_model.predictor.BandModel` does.

    Attributes
    ----------
    name, sha256
        Name, and hash of the weights file.
    card
        The content of ``card.json``.
    """

    def __init__(self, folder: str | Path, device: str = "auto"):
        """Load an imported model; BadInput when its files do not fit together."""
        folder = Path(folder)
        self.card = read_card(folder)
        tensors = read_tensors(folder / WEIGHTS)
        self.sha256 = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        if self.card.get("sha256") != self.sha256:
            raise BadInput(f"{folder / WEIGHTS}: its SHA-256 is not the card's; import it again")
        try:
            self.name = str(self.card["name"])
            self.scale = Scale(**{k: v for k, v in self.card["scale"].items() if k != "name"})
            self.network = PublishedModel3(AlignnConfig(**self.card["config"]))
            self.network.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise BadInput(
                f"{folder}: not an imported model ({reason}); import it again"
            ) from error
        self.device = pick_device(device)
        self.network.eval().to(self.device)

    def predict(
        self,
        bands: Sequence[Band],
        batch_size: int = 4,
        progress: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Predict the barriers of bands, in the order given.

        A checkpoint comes without calibration: ``interval_90_ev`` is None, and no hop is flagged
        as odd.

        Parameters
        ----------
        bands
            With all their sites in one cell.
        batch_size
            Bands side by side. Memory grows with it; on a CPU more is not faster.
        progress
            Called with the number of bands done, after each batch.
        """
        found: list[Prediction] = []
        for start in range(0, len(bands), batch_size):
            part = bands[start : start + batch_size]
            with torch.inference_mode():
                graph = collate([band_graph(band) for band in part]).to(self.device)
                values = self.scale.to_ev(self.network(graph)).tolist()
            found += [
                Prediction(band.id, value, None, in_domain=True)
                for band, value in zip(part, values, strict=True)
            ]
            if progress is not None:
                progress(len(found))
        return found


def _read(path: Path) -> bytes:
    """The bytes of the checkpoint, unpacked when it is bz2."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(3) == b"BZh"
        with bz2.open(path) if packed else path.open("rb") as file:
            data: bytes = file.read(MAX_UNPACKED_BYTES + 1)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: cannot be read ({reason}); need .pt.bz2 or .pt") from error
    if len(data) > MAX_UNPACKED_BYTES:
        raise BadInput(f"{path}: unpacks to more than 1 GiB; not a MODEL-3 checkpoint")
    return data


def _state_dict(data: bytes, path: str | Path) -> dict[str, Tensor]:
    """Tensors only: a pickle that wants to run anything is refused."""
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the restricted unpickler stumbles over or refuses
        raise BadInput(
            f"{path}: not a PyTorch checkpoint of plain tensors; need the authors' "
            "best_model.pt.bz2"
        ) from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadInput(f"{path}: model: missing; need {{'model': state_dict}} as the authors save")
    return state


def _network(state: dict[str, Tensor], path: str | Path) -> PublishedModel3:
    """The network whose sizes are those of the weights, filled with them."""

    def size(key: str, axis: int) -> int:
        if key not in state or state[key].ndim <= axis:
            raise BadInput(f"{path}: {key}: missing; this is not a MODEL-3 checkpoint")
        return int(state[key].shape[axis])

    def layers(prefix: str) -> int:
        return len({key.split(".")[1] for key in state if key.startswith(prefix + ".")})

    outputs = size("fc_out.0.weight", 0) * layers("fc_out")
    if outputs != 1:
        raise BadInput(f"{path}: fc_out: {outputs} outputs; need a fine-tuned model with one")
    network = PublishedModel3(
        AlignnConfig(
            alignn_layers=layers("alignn_layers"),
            gcn_layers=layers("gcn_layers"),
            hidden=size("atom_embedding.layer.0.weight", 0),
            embedding=size("edge_embedding.1.layer.0.weight", 0),
            atom_features=size("atom_embedding.layer.0.weight", 1),
            bond_bins=size("edge_embedding.0.centers", 0),
            angle_bins=size("angle_embedding.0.centers", 0),
            head=size("conv_to_fc.0.weight", 0),
        )
    )
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise BadInput(f"{path}: does not fit MODEL-3: {reason[:160]}") from error
    broken = next((k for k, v in state.items() if not torch.isfinite(v).all()), None)
    if broken is not None:
        raise BadInput(f"{path}: {broken}: holds values that are not finite; the file is damaged")
    return network


def _write(target: Path, card: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Fill a folder beside the target and move it into place, so that no half model is seen."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        write_tensors(folder / WEIGHTS, state, {"kind": KIND})
        card = {**card, "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()}
        (folder / CARD).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
        if target.exists():
            shutil.rmtree(target)
        folder.chmod(0o755)
        folder.replace(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
