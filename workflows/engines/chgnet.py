"""CHGNet: the pretrained potential whose weights come with its package."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from pymatgen.io.ase import AseAtomsAdaptor

from stores.documents import ModelRef
from stores.errors import BadInput
from stores.hashing import file_sha256
from workflows.engines.forces import Evaluation
from workflows.engines.mace import torch_device

GPU_BATCH = 32
"""Structures in one forward pass on a GPU."""


class ChgnetEngine:
    """CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031 (2023)), extra ``hopscreen[chgnet]``.

    Parameters
    ----------
    device
        ``auto`` takes a GPU if there is one.
    model
        Only ``default``: the weights that the package ships.
    batch
        Structures in one forward pass; left out: many on a GPU, one on a CPU.
    """

    name = "chgnet"
    level: Literal["mlip"] = "mlip"
    shared = True

    def __init__(
        self, device: str = "auto", model: str = "default", batch: int | None = None
    ) -> None:
        try:
            import chgnet
        except ImportError:
            raise BadInput(
                "engine 'chgnet': the package is not installed; pip install 'hopscreen[chgnet]'"
            ) from None
        if model != "default":
            raise BadInput(f"engine 'chgnet': model '{model}' is unknown; leave it out")
        self.device = torch_device(device)
        self.batch = batch or (GPU_BATCH if self.device != "cpu" else 1)
        self.in_batches = self.batch > 1
        self._weights = next(
            (Path(chgnet.__file__).parent / "pretrained" / "0.3.0").glob("*.pth.tar")
        )

    def identity(self) -> ModelRef:
        """Name, sha256 of the shipped weights and versions."""
        return ModelRef(
            name="chgnet-0.3.0",
            sha256=file_sha256(self._weights),
            detail={"dtype": "float32", "chgnet": version("chgnet"), "torch": version("torch")},
        )

    @property
    def elements(self) -> list[str]:
        """Symbols up to Pu, all but Po, At, Rn, Fr and Ra (the Materials Project's)."""
        return [s for s in chemical_symbols[1:95] if s not in ("Po", "At", "Rn", "Fr", "Ra")]

    def evaluate(self, images: Sequence[Atoms]) -> list[Evaluation]:
        """Energies and forces of many structures, ``batch`` in one forward pass."""
        model = self._model
        graphs = [model.graph_converter(AseAtomsAdaptor.get_structure(image)) for image in images]
        answers = model.predict_graph(graphs, task="ef", batch_size=self.batch)
        answers = [answers] if isinstance(answers, dict) else answers
        return [
            Evaluation(float(answer["e"]) * len(image), np.asarray(answer["f"], dtype=float))
            for image, answer in zip(images, answers, strict=True)
        ]

    @cached_property
    def _model(self) -> Any:
        calculator: Any = self.calculator()
        return calculator.model

    def calculator(self, folder: Path | None = None) -> Calculator:
        """ASE calculator of energies and forces; writes nothing."""
        from chgnet.model.dynamics import CHGNetCalculator

        class ForcesCalculator(CHGNetCalculator):
            """Leaves out stress, for which CHGNet goes back through its whole graph again."""

            implemented_properties: Any = ("energy", "forces")

            def calculate(
                self,
                atoms: Any = None,
                properties: Any = None,
                system_changes: Any = None,
                task: Any = "ef",
            ) -> None:
                super().calculate(atoms, properties, system_changes, task)

        # it says on stdout where it runs; stdout is for results
        with contextlib.redirect_stdout(io.StringIO()):
            return ForcesCalculator(use_device=self.device)
