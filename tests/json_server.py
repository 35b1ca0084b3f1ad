"""The small servers of several test files: they answer, note what came, and log nothing."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize, disable_nagle_algorithm = "HTTP/1.1", -1, True

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = {"method": self.command, "path": self.path, "headers": self.headers}
        request["body"] = json.loads(body or "null")
        self.server.requests.append(request)
        status, content, headers = (*self.server.reply(request), {})[:3]
        if not status:  # the connection breaks
            self.close_connection = True
            return
        if not isinstance(content, str | bytes):
            content = json.dumps(content, ensure_ascii=False)
        data = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": len(data)} | headers
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data if self.command != "HEAD" else b"")

    do_HEAD = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Write nothing."""


class JsonServer(ThreadingHTTPServer):
    """On loopback: `reply(request)` gives (status, content[, headers]); a status of 0 hangs up."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self, reply: Callable[[dict], tuple]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply, self.requests = reply, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "JsonServer":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that hung up, or was killed, is no error here."""
