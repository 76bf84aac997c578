"""Who is told: a web server that takes webhooks, and a courier in virtual time."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wherry_controller.notify import Courier

from tests.doors.quay import Quay, make_quay

SECRET = b"sixteen bytes or more"


@dataclass
class PostOffice:
    """Keeps what was posted: (headers, body); answers with `status`."""

    server: ThreadingHTTPServer
    thread: threading.Thread
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    status: int = 204
    before: Callable[[], object] = lambda: None  # each message is taken

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.taken]

    def kinds(self) -> list[str]:
        return [message["kind"] for message in self.told]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def open_post_office() -> PostOffice:
    class Counter(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            office.before()
            office.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(office.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Counter)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    office = PostOffice(server, thread)
    thread.start()
    return office


@dataclass
class Wired:
    """A quay with routes: `deliver` brings what is due, once."""

    quay: Quay
    office: PostOffice
    courier: Courier

    def deliver(self) -> None:
        self.courier.round()

    def close(self) -> None:
        self.courier.stop()
        self.quay.close()


def wire(
    folder: Path,
    office: PostOffice,
    routes: Callable[[str], str],
    org: str = "acme",
    edit: Callable[[str], str] = str,
) -> Wired:
    """An organization with the routes that `routes(url)` names as TOML."""
    quay = make_quay(folder, org, lambda text: edit(text) + routes(office.url))
    (folder / "hook.secret").write_bytes(SECRET)
    courier = Courier(
        org, quay.settings.routes, folder, quay.data.database, quay.stage,
        lambda: quay.stage.world.now_s, look_s=0.02,
    )  # fmt: skip
    return Wired(quay, office, courier)


def webhook(name: str, url: str, **more: Any) -> str:
    """One [[routes]] table that posts there."""
    keys = {"name": name, "webhook": url, "secret_file": "hook.secret"} | more
    return "\n[[routes]]\n" + "\n".join(f"{key} = {json.dumps(v)}" for key, v in keys.items())
