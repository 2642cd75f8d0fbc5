"""Opening a store: what can be wrong with a folder or a server's address."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from stores.backends import PASSWORD, USERNAME
from stores.documents import CandidateDoc
from stores.errors import BadInput
from stores.screen_store import open_store


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch):
    for name in (USERNAME, PASSWORD):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_a_missing_folder_is_not_made_for_reading(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere: not a hopscreen store; give the folder"):
        open_store(str(tmp_path / "nowhere"), create=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match="holds other things"):
        open_store(str(tmp_path))
    with pytest.raises(BadInput, match="not a hopscreen store"):
        open_store(str(tmp_path), create=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="choose another folder"):
        open_store(str(tmp_path / "file"))


def test_a_folder_under_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match=r"cannot write here.*choose another folder"):
        open_store(str(tmp_path / "file" / "store"))


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
def test_an_unwritable_folder(tmp_path):
    # root may write anywhere, so another user tries
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    open_store(str(tmp_path / "store")).close()
    code = """if True:
        import sys
        from stores.errors import BadInput
        from stores.screen_store import open_store
        from stores.documents import CandidateDoc
        import os; os.setuid(65534)
        for path in sys.argv[1:]:
            try:
                open_store(path)
            except BadInput as error:
                print(error)
        print(open_store(sys.argv[2], create=False).count(CandidateDoc))
    """
    paths = [str(tmp_path / "new"), str(tmp_path / "store")]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    new, old, count = done.stdout.splitlines()
    assert "new: cannot write here" in new
    assert "store: cannot write here" in old
    assert count == "0"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "other", "schema_version": 1}'])
def test_a_damaged_marker(tmp_path, content):
    (tmp_path / "hopscreen-store.json").write_text(content)
    with pytest.raises(BadInput, match="damaged"):
        open_store(str(tmp_path))


def test_a_damaged_database(tmp_path):
    open_store(str(tmp_path / "s")).close()
    (tmp_path / "s" / "store.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(BadInput, match="cannot be read"):
        open_store(str(tmp_path / "s"), create=False)


@pytest.mark.parametrize("begun", [False, True])
def test_a_store_whose_making_was_cut_short(tmp_path, begun):
    folder = tmp_path / "s"
    open_store(str(folder)).close()
    (folder / "store.sqlite").unlink()
    if begun:
        (folder / "store.sqlite").touch()
    with pytest.raises(BadInput, match=r"cannot be read|still empty"):
        open_store(str(folder), create=False)
    with open_store(str(folder)) as store:  # makes the rest
        assert store.count(CandidateDoc) == 0


def test_a_relative_folder_keeps_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("results")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert store.uri == str(tmp_path / "results")
    with open_store(store.uri, create=False) as again:
        assert again.count(CandidateDoc) == 0


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mongodb://localhost", "no database; give mongodb://host/database"),
        ("mongodb://", "give mongodb://host/database"),
        ("mongodb://localhost:port/x", "give mongodb://host/database"),
        ("http://localhost/x", "http:// is not known"),
        ("mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=200", "no answer"),
    ],
)
def test_a_wrong_address(uri, message):
    with pytest.raises(BadInput, match=message) as caught:
        open_store(uri)
    assert "\n" not in str(caught.value)


def test_credentials_are_never_shown(mongo_server, caplog):
    secret = "p@ss/w0rd"
    address = mongo_server.removeprefix("mongodb://")
    uri = f"mongodb://jane:{secret.replace('@', '%40').replace('/', '%2F')}@{address}/x"
    with pytest.raises(BadInput) as caught:
        open_store(uri.replace(address, "127.0.0.1:1") + "?serverSelectionTimeoutMS=200")
    shown = str(caught.value) + caplog.text
    assert "jane" not in shown
    assert "p@ss" not in shown
    assert "p%40ss" not in shown
    # for worker processes, which get the shown address
    assert os.environ[USERNAME] == "jane"
    assert os.environ[PASSWORD] == secret


def test_credentials_from_the_environment(tmp_path, monkeypatch):
    from pymongo import MongoClient
    from secantus import SecantusDBServer

    storage = str(tmp_path / "db")
    with SecantusDBServer(storage_path=storage) as server, MongoClient(server.uri) as client:
        client.admin.command("createUser", "jane", pwd="p@ss", roles=["root"])
    server = SecantusDBServer(storage_path=storage, require_auth=True)
    server.start()
    try:
        address = server.uri.rstrip("/")
        with pytest.raises(BadInput, match="no answer"):
            open_store(f"{address}/x?authSource=admin")
        monkeypatch.setenv(USERNAME, "jane")
        monkeypatch.setenv(PASSWORD, "p@ss")
        with open_store(f"{address}/x?authSource=admin") as store:
            names = [repr(store), store.uri, store.hops.name, store.blobs.name, str(store.hops)]
            assert store.count(CandidateDoc) == 0
        assert not any("p@ss" in name or "jane" in name for name in names)
    finally:
        server.stop()
