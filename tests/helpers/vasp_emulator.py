"""A command that behaves as VASP does, with the shipped potential instead of electrons.

``python vasp_emulator.py`` works in the current folder: vpmdk reads INCAR and POSCARs and writes
VASP's output files; what parsers look for in them besides (bands, plane waves, a version) is added.
Each run is noted in ``$EMULATOR_LOG``. While ``$EMULATOR_CRASH`` exists, a band is cut short after
two steps, as by a wall time: CONTCARs are left, the last image's vasprun.xml is not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

BANDS = (
    "   k-points           NKPTS =      1   number of bands    NBANDS=     40\n"
    "   total plane-waves  NPLWV =  13824\n"
)


def main() -> int:
    """Run vpmdk here; its exit code."""
    model = Path(os.environ["EMULATOR_MODEL"])
    Path("BCAR").write_text(f"MLP=MACE\nMODEL={model}\nDEVICE=cpu\n")
    incar = Path("INCAR").read_text()
    crash = "IMAGES" in incar and Path(os.environ.get("EMULATOR_CRASH", "/none")).exists()
    if crash:
        Path("INCAR").write_text(re.sub(r"NSW *= *\d+", "NSW = 2", incar))
    with Path(os.environ["EMULATOR_LOG"]).open("a") as log:
        log.write(f"{Path.cwd().name} {'crash' if crash else 'whole'}\n")
    code = subprocess.call([str(Path(sys.executable).parent / "vpmdk")])
    for file in Path().rglob("OUTCAR"):
        file.write_text(BANDS + file.read_text())
    for file in sorted(Path().rglob("vasprun.xml")):
        text = file.read_text().replace(
            '"version" type="string">0<', '"version" type="string">6.4.2<'
        )
        file.write_text(text)
    if crash:
        sorted(Path().glob("0*/vasprun.xml"))[-1].unlink()
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
