from launch.cli import run_command
from stores.screen_store import open_store


def test_a_store_of_this_version_needs_nothing(tmp_path, capfd):
    open_store(str(tmp_path / "a.store")).close()
    assert run_command(["migrate", "--store", str(tmp_path / "a.store"), "--dry-run"]) == 0
    assert "nothing to do" in capfd.readouterr().err


def test_a_store_that_is_not_there_is_not_made(tmp_path, capfd):
    assert run_command(["migrate", "--store", str(tmp_path / "none")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "none" in line
    assert not (tmp_path / "none").exists()
