"""Work that writes its process id and stays: in a pool, and as the images of a band."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator

from workflows.engines.forces import InProcesses
from workflows.pool import Report, map_processes


def stay(folder: str, report: Report | None = None) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(300)


class Slow(Calculator):
    implemented_properties: ClassVar = ["energy", "forces"]

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def calculate(self, *args: object, **kwargs: object) -> None:
        stay(self.folder)


class SlowEngine:
    shared = False

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def calculator(self, folder: Path | None = None) -> Calculator:
        return Slow(self.folder)


def in_pool(folder: str) -> None:
    list(map_processes(stay, [folder, folder], processes=2, on_report=print))


def images(folder: str) -> None:
    InProcesses(SlowEngine(folder), None, 2).evaluate([Atoms("H"), Atoms("H")], ["one", "two"])
