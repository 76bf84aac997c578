"""The HTTP API: every endpoint against every role, limits, and errors in one sentence."""

import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from wherry_controller import settings as setup
from wherry_controller.core.permissions import PERMISSIONS, Role
from wherry_controller.fleet import Fleet, Organization
from wherry_controller.fleet.open import open_organization
from wherry_controller.fleet.operators import add_operator
from wherry_controller.founding import Charter, found
from wherry_controller.http.desk import Desk
from wherry_controller.layout import DataDir
from wherry_controller.serve import listen
from wherry_controller.writer import Writer
from wherry_protocol.keys import SigningKey

from tests.controller.apps import lend, take_back
from tests.controller.device import FakeDevice
from tests.controller.made import bundle_file
from tests.controller.world import DIRECT, START_S

ROLES = list(Role)


@dataclass
class Api:
    """The real application over a real writer thread, without a broker."""

    data: DataDir
    client: httpx.Client
    desk: Desk
    server: uvicorn.Server
    thread: threading.Thread
    tokens: dict[Role, str]
    release: list[SigningKey]
    writer: Writer

    def call(self, method: str, path: str, role: Role | None = Role.ADMIN, **more: Any) -> Any:
        headers = {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}
        return self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join()
        take_back(self.server)
        self.writer.stop()

    def ok(self, method: str, path: str, role: Role = Role.ADMIN, **more: Any) -> Any:
        answer = self.call(method, path, role, **more)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()


def make_api(folder: Path) -> Api:
    data = DataDir(folder)
    made = found(data, Charter("acme", "ada"), START_S)
    settings = setup.load(data.settings)
    settings = replace(settings, http=replace(settings.http, bundle_bytes_max=1 << 20))
    settings = replace(settings, broker=replace(settings.broker, provisioning="none"))

    def open_fleet() -> Fleet:
        return Fleet(open_organization(data)[0])

    writer = Writer(open_fleet, lambda _: None, clock=lambda: START_S)
    writer.start()
    tokens = {Role.ADMIN: made.token}

    def add_others(org: Organization) -> None:
        for role in ROLES[:3]:
            tokens[role] = add_operator(org.db, role.name, role, "ada", START_S, os.urandom)

    writer.submit(add_others).result()
    desk = Desk(data, settings, writer, clock=lambda: START_S)
    release = [SigningKey.from_pem(path.read_bytes()) for path in made.release_key_files]
    door = listen(replace(settings, http=replace(settings.http, port=0)))
    config = uvicorn.Config(lend(desk), log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    address = f"http://127.0.0.1:{door.getsockname()[1]}"
    client = httpx.Client(base_url=address, timeout=20, verify=False)
    return Api(data, client, desk, server, thread, tokens, release, writer)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = make_api(tmp_path / "acme")
    yield made
    made.close()


def test_the_permission_table_names_every_endpoint_and_nothing_else(api: Api) -> None:
    document = api.client.get("/api/v1/openapi.json").json()
    operations = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    }
    assert operations == set(PERMISSIONS)


def endpoints(api: Api) -> list[tuple[str, str, str]]:
    document = api.client.get("/api/v1/openapi.json").json()
    return [
        (operation["operationId"], method.upper(), path.removeprefix("/api/v1"))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def filled(path: str) -> str:
    for name in ("connection", "unit", "name", "model", "rollout_id"):
        path = path.replace("{" + name + "}", "nothing")
    return path.replace("{version}", "1.0.0")


def test_api_abuse_attack_every_endpoint_refuses_every_role_below_its_own(api: Api) -> None:
    refused = 0
    for (operation, method, path), role in itertools.product(endpoints(api), ROLES):
        if operation in ("telemetry.tail", "alerts.watch") and role >= PERMISSIONS[operation]:
            continue  # an endless stream; it has a test of its own
        answer = api.call(method, filled(path), role, json={})
        is_refused = answer.status_code == 403
        assert is_refused is (role < PERMISSIONS[operation]), (operation, role, answer.text)
        refused += is_refused
    assert refused > 20


def test_api_abuse_attack_every_endpoint_refuses_a_caller_without_a_token(api: Api) -> None:
    for _, method, path in endpoints(api):
        answer = api.call(method, filled(path), None, json={})
        assert answer.status_code == 401, path
        assert answer.json()["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Basic YTpi", "Bearer wherry_wrong", "bearer x y"]
)
def test_api_abuse_attack_a_wrong_token_is_refused(api: Api, header: str) -> None:
    answer = api.client.get("/api/v1/status", headers={"Authorization": header})
    assert answer.status_code == 401


def test_api_abuse_attack_the_token_of_another_organization_is_refused(
    api: Api, tmp_path: Path
) -> None:
    other = found(DataDir(tmp_path / "other"), Charter("other", "eve"), START_S)
    answer = api.client.get("/api/v1/devices", headers={"Authorization": f"Bearer {other.token}"})
    assert answer.status_code == 401


def test_csrf_attack_a_hostile_page_has_nothing_that_authenticates_it(api: Api) -> None:
    """Only a bearer token counts: no cookie is ever set or read, no other origin is let in."""
    answer = api.call("GET", "/whoami")
    assert "set-cookie" not in answer.headers
    forged = api.client.post(
        "/api/v1/stop",
        json={"is_stopped": True, "reason": "from a hostile page"},
        headers={"Origin": "https://evil.example", "Cookie": f"token={api.tokens[Role.ADMIN]}"},
    )
    assert forged.status_code == 401
    assert not any(name.startswith("access-control") for name in forged.headers)


def test_xss_attack_markup_in_a_name_stays_text(api: Api) -> None:
    """No answer is ever HTML, so that a browser shows a name and never runs it."""
    name = "<script>alert(1)<!--"
    assert api.ok("POST", "/operators", json={"name": name, "role": "viewer"})["name"] == name
    listed = api.call("GET", "/operators")
    assert listed.headers["content-type"] == "application/json"
    assert name in [row["name"] for row in listed.json()]


def test_a_disabled_operators_token_ends(api: Api) -> None:
    api.ok("POST", "/operators/VIEWER/disable", json={"reason": "left"})
    assert api.call("GET", "/status", Role.VIEWER).status_code == 401


def test_the_last_admin_cannot_be_disabled(api: Api) -> None:
    answer = api.call("POST", "/operators/ada/disable", json={"reason": "oops"})
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")


def test_api_abuse_attack_a_huge_body_is_refused_by_its_announced_length(api: Api) -> None:
    answer = api.call("POST", "/stop", content=b"x" * ((1 << 20) + 1))
    assert answer.status_code == 413
    assert "at most 1048576" in answer.json()["error"]


def test_api_abuse_attack_a_huge_body_that_hides_its_length_is_refused(api: Api) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 65_536

    answer = api.call("POST", "/bundles", content=endless())
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "target", ["'; DROP TABLE units; --", "label:site='oslo'", "all or", "(((", "25% 10% all"]
)
def test_api_abuse_attack_sql_or_nonsense_in_a_selector_names_the_position(
    api: Api, target: str
) -> None:
    answer = api.call("GET", "/devices", params={"target": target})
    assert answer.status_code == 422
    assert "position" in answer.json()["error"]
    assert api.ok("GET", "/devices") == []


@pytest.mark.parametrize("name", ["..%2f..%2fwherry.db", "..", "%00", "a%2fb"])
def test_api_abuse_attack_path_tricks_find_nothing(api: Api, name: str) -> None:
    answer = api.call("GET", f"/bundles/{name}/1.0.0")
    assert answer.status_code in (404, 422)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/rollouts", {"model": "x"}),
        ("POST", "/rollouts", {"model": "x", "version": "1.0.0", "target": "all", "x": 1}),
        ("POST", "/stop", {"is_stopped": True, "reason": ""}),
        ("POST", "/operators", {"name": "x", "role": "king"}),
        ("POST", "/devices", {"request": "not base64!"}),
        ("POST", "/devices", {"request": "aGVsbG8="}),
        ("PUT", "/classes/x", {"name": "y"}),
        ("POST", "/roots", {"root": "aGVsbG8="}),
        ("POST", "/rollback", {"model": "x", "target": "all"}),
        ("PATCH", "/devices/a/self", {"performance_s": 0}),
    ],
)
def test_bad_input_is_one_sentence_with_a_code(
    api: Api, method: str, path: str, body: dict[str, Any]
) -> None:
    answer = api.call(method, path, json=body)
    assert answer.status_code == 422
    found = answer.json()
    assert set(found) == {"code", "error"}
    assert found["error"]
    assert "\n" not in found["error"]


def test_what_is_not_there_is_a_404_and_names_it(api: Api) -> None:
    for path in ("/devices/ghost", "/rollouts/ghost", "/bundles/ghost/1.0.0", "/classes/ghost"):
        answer = api.call("GET", path)
        assert answer.status_code == 404
        assert "ghost" in answer.json()["error"]


def test_an_operator_is_added_and_may_do_what_the_role_says(api: Api) -> None:
    made = api.ok("POST", "/operators", json={"name": "bob", "role": "viewer"})
    header = {"Authorization": f"Bearer {made['token']}"}
    assert api.client.get("/api/v1/whoami", headers=header).json() == {
        "name": "bob",
        "role": "viewer",
    }
    again = api.call("POST", "/operators", json={"name": "bob", "role": "viewer"})
    assert again.status_code == 409
    assert all("token" not in row for row in api.ok("GET", "/operators"))


def test_store_list_and_get_agree_and_the_file_comes_back(api: Api) -> None:
    data = bundle_file(api.release, program_bytes=640)
    pushed = api.ok("POST", "/bundles", Role.OPERATOR, content=data)
    assert api.ok("GET", "/bundles") == [pushed]
    shown = api.ok("GET", "/bundles/digits/1.0.0")
    assert shown["digest"] == pushed["digest"]
    assert shown["manifest"]["budgets"]["linux-x86_64"]["latency_us_p95"] == 1000
    assert api.call("GET", "/bundles/digits/1.0.0/file").content == data


def test_a_bundle_below_the_release_threshold_is_refused(api: Api) -> None:
    answer = api.call("POST", "/bundles", content=bundle_file([SigningKey.generate()]))
    assert answer.status_code == 422
    assert api.ok("GET", "/bundles") == []


def test_a_class_is_added_shown_and_bounded(api: Api) -> None:
    body = {
        "name": "my-board", "architecture": "armv7", "ram_bytes": 1, "flash_bytes": 1,
        "memory_budget_bytes": 1, "storage_budget_bytes": 1,
        "energy_model": {"nj_per_cycle": 0.5, "uncertainty": 0.2},
    }  # fmt: skip
    api.ok("PUT", "/classes/my-board", json=body)
    assert api.ok("GET", "/classes/my-board")["energy_model"]["calibrated_s"] is None
    names = [row["name"] for row in api.ok("GET", "/classes")]
    assert names == ["cortex-m-sim", "linux-arm64", "linux-x86_64", "my-board"]
    answer = api.call("PUT", "/classes/my-board", json=body | {"ram_bytes": -1})
    assert answer.status_code == 422


def enrolled(api: Api, name: str) -> FakeDevice:
    device = FakeDevice(name, labels={"site": "oslo"})
    answer = api.ok("POST", "/devices", json={"request": device.request_base64()})
    device.take_answer(answer["answer"])
    return device


def test_a_device_is_enrolled_listed_configured_and_isolated(api: Api) -> None:
    enrolled(api, "gw1")
    [row] = api.ok("GET", "/devices", params={"target": "label:site=oslo"})
    assert (row["id"], row["health"]) == ("gw1/self", "unseen")
    changed = api.ok(
        "PATCH", "/devices/gw1/self", json={"performance_s": 5, "labels": {"site": "bergen"}}
    )
    assert changed["labels"] == {"site": "bergen"}
    assert changed["units"][0]["performance_s"] == 5
    shown = api.ok("POST", "/devices/gw1/self/isolate", json={"reason": "odd outputs"})
    assert shown["units"][0]["is_isolated"]
    shown = api.ok("POST", "/devices/gw1/self/release", json={"reason": "checked"})
    assert not shown["units"][0]["is_isolated"]
    actions = [row["action"] for row in api.ok("GET", "/audit")]
    assert actions[-3:] == ["device.configure", "device.isolate", "device.release"]


def test_a_rollout_is_created_listed_watched_and_aborted(api: Api) -> None:
    enrolled(api, "gw1")
    api.ok("POST", "/bundles", content=bundle_file(api.release, program_bytes=640))
    body = {"model": "digits", "version": "1.0.0", "target": "all", "plan": DIRECT}
    made = api.ok("POST", "/rollouts", json=body)
    assert (made["state"], made["members"]["offered"]) == ("running", 1)
    assert [row["id"] for row in api.ok("GET", "/rollouts")] == [made["id"]]
    path = f"/rollouts/{made['id']}"
    assert api.ok("POST", f"{path}/abort", json={"reason": "never mind"})["state"] == "aborted"
    watched = api.call("GET", f"{path}/watch")
    assert watched.text.startswith("event: message\ndata: {")
    assert '"state":"aborted"' in watched.text
    answer = api.call("POST", f"{path}/pause", json={"reason": "late"})
    assert answer.status_code == 409


def test_a_preview_names_each_stages_units_and_keeps_nothing(api: Api) -> None:
    names = [f"gw{n}" for n in range(4)]
    for name in names:
        enrolled(api, name)
    api.ok("POST", "/bundles", content=bundle_file(api.release, program_bytes=640))
    body = {"model": "digits", "version": "1.0.0", "target": "all",
            "plan": {"strategy": "rolling"}}  # fmt: skip
    shown = api.ok("POST", "/rollouts/preview", Role.VIEWER, json=body)
    assert [len(stage) for stage in shown["stages"]] == [1, 3]
    assert api.ok("GET", "/rollouts") == []
    made = api.ok("POST", "/rollouts", json=body)
    offered = [unit["unit"] for unit in made["units"] if unit["phase"] == "offered"]
    assert (made["id"], offered) == (shown["id"], shown["stages"][0])


def test_an_operators_rollout_waits_for_an_approver_where_the_settings_say_so(
    tmp_path: Path,
) -> None:
    made = make_api(tmp_path / "acme")
    fleet = replace(made.desk.settings.fleet, needs_approver=True)
    made.desk.settings = replace(made.desk.settings, fleet=fleet)
    enrolled(made, "gw1")
    made.ok("POST", "/bundles", content=bundle_file(made.release, program_bytes=640))
    body = {"model": "digits", "version": "1.0.0", "target": "all", "plan": DIRECT}
    draft = made.ok("POST", "/rollouts", Role.OPERATOR, json=body)
    assert draft["state"] == "draft"
    path = f"/rollouts/{draft['id']}/approve"
    assert made.call("POST", path, Role.OPERATOR, json={"reason": "x"}).status_code == 403
    assert made.ok("POST", path, Role.APPROVER, json={"reason": "x"})["state"] == "running"
    made.close()


def test_a_stop_is_shown_and_lifted(api: Api) -> None:
    api.ok("POST", "/stop", Role.OPERATOR, json={"is_stopped": True, "reason": "smoke"})
    assert api.ok("GET", "/status")["is_stopped"]
    api.ok("POST", "/stop", Role.OPERATOR, json={"is_stopped": False, "reason": "clear"})
    assert not api.ok("GET", "/status")["is_stopped"]


def test_metrics_are_prometheus_text(api: Api) -> None:
    enrolled(api, "gw1")
    answer = api.call("GET", "/metrics", Role.VIEWER)
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'wherry_units{health="unseen"} 1.0' in answer.text


def test_the_doctor_names_what_is_wrong_and_what_to_do(api: Api) -> None:
    (api.data.keys / "director.pem").chmod(0o644)
    found = {row["name"]: row for row in api.ok("GET", "/doctor")}
    assert not found["keys"]["passed"]
    assert "chmod 600" in found["keys"]["text"]
    assert found["database"]["passed"]
    assert not found["offline keys"]["passed"]
