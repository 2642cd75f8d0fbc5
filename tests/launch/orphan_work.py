"""Work that writes its process id and stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from workflows.pool import Report, map_processes


def stay(folder: str, report: Report) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(300)


def main(folder: str) -> None:
    list(map_processes(stay, [folder, folder], processes=2, on_report=print))
