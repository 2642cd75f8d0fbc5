"""A server with users and TLS: it works, and the password is nowhere to be read."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient
from sites import JobflowRemote, MongoServer

SECRET = "s3cret/pass:word@1"


@pytest.fixture
def server(tmp_path) -> Iterator[MongoServer]:
    """A server that asks for a login and speaks TLS."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    server = MongoServer(tmp_path / "server")
    server.start()
    with MongoClient(server.uri) as client:
        roles = [{"role": "readWriteAnyDatabase", "db": "admin"}]
        client["admin"].command("createUser", "writer", pwd=SECRET, roles=roles)
    server.stop()
    server.options = (
        "--auth", "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
    )  # fmt: skip
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
def test_login_and_tls_and_no_trace_of_the_password(server, tmp_path, write_spec):
    tls = f"tls=true&tlsCAFile={tmp_path / 'certificate.pem'}"
    uri = f"{server.uri}/li?authSource=admin&{tls}"
    login = tmp_path / "login"
    login.write_text(
        f"export HOPSCREEN_MONGODB_USERNAME=writer HOPSCREEN_MONGODB_PASSWORD='{SECRET}'\n"
    )
    options = {"tls": True, "tlsCAFile": str(tmp_path / "certificate.pem")}
    jf = JobflowRemote(
        tmp_path,
        server.uri,
        login={
            "username": "writer",
            "password": SECRET,
            "auth_source": "admin",
            "mongoclient_kwargs": options,
        },
    )
    spec = write_spec(mace_neb=None, launch={"environment": [f"source {login}"]})

    refused = jf("hopscreen", "status", "--store", uri)
    assert refused.returncode == 2
    assert "HOPSCREEN_MONGODB_PASSWORD" in refused.stderr

    # The submission takes the login from the project, the jobs from their environment.
    done = jf("jf", "flow", "submit", str(spec), "--store", uri, "--worker", "here")
    assert done.returncode == 0, done.stdout + done.stderr
    jf.run_jobs()
    assert {job["state"] for job in jf.jobs()} == {"COMPLETED"}

    seen = [done.stdout, done.stderr, refused.stdout, refused.stderr]
    project = Path(jf.environment["JFREMOTE_PROJECTS_FOLDER"]) / "test.yaml"
    for file in tmp_path.rglob("*"):
        ours = file in (login, project) or (tmp_path / "server") in file.parents
        if file.is_file() and not ours:
            seen.append(file.read_bytes().decode(errors="replace"))
    with MongoClient(f"{server.uri}/?{tls}&authSource=admin", **jf.login_only) as client:
        for name in ("li", jf.project["queue"]["store"]["database"]):
            for collection in client[name].list_collection_names():
                rows = client[name][collection].find()
                seen += [repr(row) for row in rows]
    assert len(seen) > 50
    assert not [text for text in seen if SECRET in text or "s3cret" in text]
