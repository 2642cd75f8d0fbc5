"""Who may look into which room: read from the import statements themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "em_model": set(),
    "stores": set(),
    "workflows": {"em_model", "stores"},
    "launch": {"em_model", "stores", "workflows"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write the import in full"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_looks_only_into_those_it_may(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        ours = imported(path) & set(MAY_IMPORT) - {room}
        assert ours <= MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {ours}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_nothing_unpickles_or_needs_dgl_at_run_time(room):
    for path in sorted((ROOT / room).rglob("*.py")):
        assert not imported(path) & {"pickle", "joblib", "dill", "dgl"}, path


def test_cheap_stages_load_no_torch():
    # a process of each core has what its stage imports: with torch twice as much
    stages = "workflows.stages.candidates, workflows.stages.hops"
    code = f"import sys, {stages}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
