"""CHGNet: the pretrained potential whose weights come with its package."""

from __future__ import annotations

import contextlib
import io
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

from stores.documents import ModelRef
from stores.errors import BadInput
from stores.hashing import file_sha256


class ChgnetEngine:
    """CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031 (2023)), extra ``hopscreen[chgnet]``.

    Parameters
    ----------
    device
        ``auto`` takes a GPU if there is one.
    model
        Only ``default``: the weights that the package ships.
    """

    name = "chgnet"
    level: Literal["mlip"] = "mlip"
    shared = True

    def __init__(self, device: str = "auto", model: str = "default") -> None:
        try:
            import chgnet
        except ImportError:
            raise BadInput(
                "engine 'chgnet': the package is not installed; pip install 'hopscreen[chgnet]'"
            ) from None
        if model != "default":
            raise BadInput(f"engine 'chgnet': model '{model}' is unknown; leave it out")
        self.device = device
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

    def calculator(self, folder: Path | None = None) -> Calculator:
        """ASE calculator of energies and forces; writes nothing."""
        from chgnet.model.dynamics import CHGNetCalculator

        from workflows.engines.mace import torch_device

        # it says on stdout where it runs; stdout is for results
        with contextlib.redirect_stdout(io.StringIO()):
            return CHGNetCalculator(use_device=torch_device(self.device), stress_weight=0.0)
