"""A MACE engine that batches as it does on a GPU, for machines without one."""

from __future__ import annotations

from workflows.engines.mace import MaceEngine


class BatchedMace(MaceEngine):
    """Many structures in one forward pass, on the CPU."""

    def __init__(self, model: str = "mini") -> None:
        super().__init__(model, device="cpu", batch_atoms=500)
