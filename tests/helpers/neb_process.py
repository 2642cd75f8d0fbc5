"""A NEB job in a process and folder of its own, which leaves a file for each NEB that it runs."""

import os
from pathlib import Path

from workflows.stages import neb


def run(spec, uri, hop_ids, folder, ready):
    os.environ |= {"OMP_NUM_THREADS": "1", "HOPSCREEN_PROCESSES": "0"}
    Path(folder).mkdir()
    os.chdir(folder)
    real = neb.run_hop

    def counted(task, report, forces=None):
        with Path(task.hop_id).open("x"):
            return real(task, report, forces)

    neb.run_hop = counted
    ready.wait()
    neb.mace_neb.original(spec, uri, hop_ids)
