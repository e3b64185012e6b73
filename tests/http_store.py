"""A store of files on this machine, over plain HTTP, for tests of what is fetched from URIs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class HttpStore:
    """Serves a folder; ``asked``: the paths that were, in order.

    ``send(path, data, write)``, if set, writes the body in place of the server.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []
        self.send: Callable[[str, bytes, Callable], None] | None = None
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                store.asked.append(self.path)
                path = store.folder / self.path.lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                data = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                try:
                    if store.send:
                        store.send(self.path, data, self.wfile.write)
                    else:
                        self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):  # the reader was killed
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def uri(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
