"""A local server that speaks the Materials Project API, as far as the real client asks it."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HEARTBEAT = {"version": "0.87.3", "db_version": "2026.11.1", "access_controlled_batch_ids": []}


class MaterialsProjectServer:
    """Serves summary documents; ``fail`` decides what goes wrong with a request.

    Attributes
    ----------
    documents
        By material id.
    requests
        Query parameters of every summary request, in order.
    fail
        Called with the number of the summary request (from 0); returns None, or a status code,
        "truncated", "page" (a portal's page in place of JSON), or "silent".
    greet
        The same for the heartbeat, by which the client says hello.
    """

    def __init__(self, documents):
        self.documents = {document["material_id"]: dict(document) for document in documents}
        self.requests = []
        self.keys = set()
        self.fail = lambda number: None
        self.greet = lambda: None

    def summary(self, asked):
        rows = [row for row in self.documents.values() if self._matches(row, asked)]
        skip, limit = int(asked.get("_skip", 0)), int(asked.get("_limit", 1000))
        fields = asked["_fields"].split(",")
        page = [
            {key: row[key] for key in fields if key in row} for row in rows[skip : skip + limit]
        ]
        return {"data": page, "meta": {"total_doc": len(rows)}}

    @staticmethod
    def _matches(row, asked):
        elements = {s["element"] for site in row["structure"]["sites"] for s in site["species"]}
        checks = [
            "material_ids" not in asked or row["material_id"] in asked["material_ids"].split(","),
            "elements" not in asked or elements >= set(asked["elements"].split(",")),
            not elements & set(asked.get("exclude_elements", "").split(",")),
            float(asked.get("energy_above_hull_max", 99)) >= row["energy_above_hull"],
            float(asked.get("nsites_max", 999)) >= len(row["structure"]["sites"]),
        ]
        return all(checks)

    @contextmanager
    def running(self, port=0):
        """Serve on a local port, a free one if not given; yield the endpoint."""
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(state):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            if url.path.strip("/") == "heartbeat":
                return self._fail_or(state.greet(), HEARTBEAT)
            assert url.path == "/materials/summary/", url.path
            state.keys.add(self.headers["x-api-key"])
            asked = {key: values[0] for key, values in parse_qs(url.query).items()}
            state.requests.append(asked)
            return self._fail_or(state.fail(len(state.requests) - 1), state.summary(asked))

        def _fail_or(self, failure, content):
            if failure == "silent":
                time.sleep(2.5)
                return None
            if isinstance(failure, int):
                return self._answer(failure, json.dumps({"detail": "so it goes"}))
            if failure == "page":
                return self._answer(200, "<html><body>Please log in to the network</body></html>")
            body = json.dumps(content)
            return self._answer(200, body[: len(body) // 2] if failure == "truncated" else body)

        def _answer(self, status, body):
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            """Keep the test's output clean."""

    return Handler
