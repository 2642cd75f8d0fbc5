"""MACE potentials: the shipped ``mini``, the foundation models by name, or a file of one's own.

``mini`` is a safetensors file and a JSON configuration, so reading it runs no code. Files in
mace-torch's own ``.model`` format are pickles: give only files that you trust.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from safetensors.torch import load_file

from stores.documents import ModelRef
from stores.errors import BadInput
from stores.hashing import file_sha256
from workflows.engines.forces import Evaluation

SHIPPED = Path(__file__).parents[1] / "data"
"""Folder of shipped potentials, one subfolder each: config.json, model.safetensors, card.json."""


GPU_BATCH_ATOMS = 4000
"""Atoms in one forward pass on a GPU: what 16 GB hold of a foundation model."""


class MaceEngine:
    """A MACE potential (Batatia et al., NeurIPS 2022, arXiv 2206.07697).

    Parameters
    ----------
    model
        ``mini``, a foundation name of mace-torch (``medium-mpa-0``, …), the path of a ``.model``
        file, or of a folder laid out like the shipped one.
    device
        ``auto`` takes a GPU if there is one.
    dtype
        ``float32`` or ``float64``.
    batch_atoms
        Atoms in one forward pass; left out: many on a GPU, one structure at a time on a CPU,
        where a batch is no faster.

    Raises
    ------
    BadInput
        The model is neither a known name nor an existing path. Nothing is downloaded for a path.
    """

    level: Literal["mlip"] = "mlip"
    shared = True

    def __init__(
        self,
        model: str = "mini",
        device: str = "auto",
        dtype: str = "float32",
        batch_atoms: int | None = None,
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise BadInput(f"mace dtype '{dtype}' is unknown; use float32 or float64")
        self.name, self.device, self.dtype = str(model), device, dtype
        on_gpu = torch_device(device) != "cpu"
        self.batch_atoms = batch_atoms or (GPU_BATCH_ATOMS if on_gpu else 1)
        self.in_batches = self.batch_atoms > 1
        self._path: Path | None = _local_path(self.name)
        if self._path is None and self.name not in foundation_urls():
            raise BadInput(_unknown(self.name))

    @cached_property
    def _file(self) -> Path:
        """The weights file; a foundation model that is not in mace's cache is downloaded."""
        if self._path is not None:
            return self._path / "model.safetensors" if self._path.is_dir() else self._path
        from mace.calculators.foundations_models import download_mace_mp_checkpoint, get_cache_dir

        url = foundation_urls()[self.name]
        try:
            # mace-torch says on stdout what it downloads; stdout is ours for results
            with contextlib.redirect_stdout(sys.stderr):
                return Path(download_mace_mp_checkpoint(self.name))
        except (OSError, RuntimeError) as error:
            raise BadInput(
                f"mace model '{self.name}': cannot download {url} to {get_cache_dir()} ({error}); "
                "fetch the file elsewhere and give its path, or use 'mini'"
            ) from error

    @cached_property
    def _model(self) -> torch.nn.Module:
        if self._file.suffix == ".safetensors":
            model: torch.nn.Module = load_shipped(self._file.parent)
        else:
            _mace()
            try:
                model = torch.load(self._file, map_location="cpu", weights_only=False)
                model.atomic_numbers, model.r_max  # noqa: B018  a MACE model has these
            except Exception as error:  # a foreign pickle may raise anything
                raise BadInput(f"{self._file}: not a MACE model ({error})") from error
        return model.to(getattr(torch, self.dtype))

    @property
    def elements(self) -> list[str]:
        """Symbols that the model was trained on."""
        if self._file.suffix == ".safetensors":
            return [chemical_symbols[z] for z in read_config(self._file.parent)["atomic_numbers"]]
        numbers: Any = self._model.atomic_numbers
        return [chemical_symbols[int(z)] for z in numbers]

    def identity(self) -> ModelRef:
        """Name, sha256 of the weights file, dtype and versions."""
        return ModelRef(
            name=self.name if self._path is None or self.name == "mini" else self._path.name,
            sha256=file_sha256(self._file),
            detail={
                "dtype": self.dtype,
                "mace-torch": version("mace-torch"),
                "torch": version("torch"),
            },
        )

    def calculator(self, folder: Path | None = None) -> Calculator:
        """ASE calculator of energies and forces; writes nothing."""
        return _mace().MACECalculator(
            models=self._model, device=torch_device(self.device), default_dtype=self.dtype
        )

    def evaluate(self, images: Sequence[Atoms]) -> list[Evaluation]:
        """Energies and forces of many structures, ``batch_atoms`` in one forward pass."""
        model, device = self._on_device
        numbers = [int(z) for z in model.atomic_numbers]
        found: list[Evaluation] = []
        for chunk in chunks(images, self.batch_atoms):
            batch = graph_batch(chunk, numbers, float(model.r_max), self.dtype).to(device)
            answer = model(batch.to_dict(), compute_stress=False)
            energies = answer["energy"].detach().cpu().numpy().astype(float)
            forces = answer["forces"].detach().cpu().numpy().astype(float)
            ends = np.cumsum([len(image) for image in chunk])[:-1]
            found += map(Evaluation, energies.tolist(), np.split(forces, ends))
        return found

    @cached_property
    def _on_device(self) -> tuple[Any, str]:
        device = torch_device(self.device)
        model = self._model.to(device)
        for parameter in model.parameters():
            parameter.requires_grad = False  # only the forces are wanted
        return model, device


def chunks(images: Sequence[Atoms], most_atoms: int) -> Iterator[list[Atoms]]:
    """Split into runs of at most ``most_atoms`` atoms, at least one structure each."""
    chunk: list[Atoms] = []
    for image in images:
        if chunk and sum(map(len, chunk)) + len(image) > most_atoms:
            yield chunk
            chunk = []
        chunk.append(image)
    if chunk:
        yield chunk


def graph_batch(images: Sequence[Atoms], numbers: list[int], r_max: float, dtype: str) -> Any:
    """Graphs of structures as mace-torch's models take them, in one batch."""
    _mace()
    from mace import data
    from mace.tools import torch_geometric
    from mace.tools.torch_tools import default_dtype
    from mace.tools.utils import AtomicNumberTable

    table = AtomicNumberTable(numbers)
    nothing = data.KeySpecification(info_keys={}, arrays_keys={})
    with default_dtype(dtype):
        graphs = [
            data.AtomicData.from_config(
                data.config_from_atoms(image, key_specification=nothing),
                z_table=table,
                cutoff=r_max,
            )
            for image in images
        ]
        return torch_geometric.Batch.from_data_list(graphs)


def foundation_urls() -> dict[str, str]:
    """Names that mace-torch downloads, and from where."""
    _mace()
    from mace.calculators.foundations_models import mace_mp_urls

    return dict(mace_mp_urls)


def torch_device(device: str) -> str:
    """Resolve ``auto``."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a model in a folder; see :func:`build_model`."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise BadInput(f"{folder}: no readable config.json ({error})") from error


def load_shipped(folder: Path) -> torch.nn.Module:
    """Rebuild a model from its configuration and its safetensors weights."""
    model = build_model(read_config(folder))
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:  # safetensors and torch raise several kinds
        first_line = str(error).splitlines()[0]
        raise BadInput(f"{folder}/model.safetensors: corrupt or foreign ({first_line})") from error
    return model.eval()


def build_model(config: dict[str, Any]) -> torch.nn.Module:
    """Build an untrained ScaleShiftMACE in float32 from a JSON-able configuration.

    Parameters
    ----------
    config
        ``r_max`` (Å), ``num_bessel``, ``num_polynomial_cutoff``, ``max_ell``,
        ``num_interactions``, ``hidden_irreps``, ``mlp_irreps``, ``correlation``,
        ``avg_num_neighbors``, ``atomic_numbers``.
    """
    _mace()
    from e3nn import o3
    from mace import modules

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with _quiet():
            return modules.ScaleShiftMACE(
                r_max=config["r_max"],
                num_bessel=config["num_bessel"],
                num_polynomial_cutoff=config["num_polynomial_cutoff"],
                max_ell=config["max_ell"],
                interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
                interaction_cls_first=modules.interaction_classes[config["first_interaction"]],
                num_interactions=config["num_interactions"],
                num_elements=len(config["atomic_numbers"]),
                hidden_irreps=o3.Irreps(config["hidden_irreps"]),
                MLP_irreps=o3.Irreps(config["mlp_irreps"]),
                gate=torch.nn.functional.silu,
                atomic_energies=np.zeros(len(config["atomic_numbers"])),
                avg_num_neighbors=config["avg_num_neighbors"],
                atomic_numbers=config["atomic_numbers"],
                correlation=config["correlation"],
                atomic_inter_scale=1.0,
                atomic_inter_shift=0.0,
            )
    finally:
        torch.set_default_dtype(before)


def _mace() -> Any:
    """``mace.calculators``, without the environment variable that its import leaves behind.

    mace-torch makes every later ``torch.load`` of the process unpickle anything; e3nn needs that
    while it is imported, nothing does afterwards.
    """
    before = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    with _quiet():
        import mace.calculators as calculators

    if before is None:
        os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    return calculators


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence remarks on optional accelerators and TorchScript that no user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            logging.disable(logging.NOTSET)


def _local_path(name: str) -> Path | None:
    """Path of a model on disk, None for a name; a path that does not exist is an error."""
    if (SHIPPED / name / "config.json").is_file() and os.sep not in name:
        return SHIPPED / name
    path = Path(name).expanduser()
    if path.is_file() or (path / "config.json").is_file():
        return path
    if os.sep in name or path.suffix in (".model", ".pt", ".pth", ".safetensors"):
        raise BadInput(f"mace model '{name}': no such file; nothing is downloaded for a path")
    return None


def _unknown(name: str) -> str:
    import difflib

    names = ["mini", *foundation_urls()]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}, or a path"
    return f"mace model '{name}' is unknown; {hint}"
