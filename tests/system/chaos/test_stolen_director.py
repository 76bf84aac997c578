"""A stolen director's key against a real controller: what its operator is shown, and the way out.

The thief speaks through the broker with the real key. To survive: the device serves on, the
operator is told, and the commands of docs/security.md give the fleet back.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wherry_controller.keyring import DIRECTOR
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.desired import Desired
from wherry_protocol.messages.trust import FleetTime, TrustRole
from wherry_protocol.sealed import seal
from wherry_protocol.topics import Topics

from tests.agent.director import hardware_class
from tests.cli.door import Answer, wherry
from tests.controller.live import wait_for
from tests.system.chaos.hostile import FORGED_ID, Hostile
from tests.system.chaos.mqtt import Publication
from tests.system.chaos.proxy import ALL, DOWN
from tests.system.chaos.waters import PATIENCE_S, Waters, assert_fleet_is_well, waters

NAME = "gw1"
TOPICS = Topics("acme")
REVISION_MAX = (1 << 63) - 1
YEAR_2100_S = 4_102_444_800


@pytest.fixture
def sea(mosquitto: str, tmp_path: Path) -> Iterator[Waters]:
    with waters(mosquitto, tmp_path, [NAME]) as one:
        one.proxy.trouble(ALL, Hostile())
        yield one


def stolen(sea: Waters) -> SigningKey:
    return SigningKey.from_pem((sea.live.folder / "keys" / DIRECTOR).read_bytes())


def forge(sea: Waters, topic: str, message: Desired | FleetTime) -> None:
    payload = seal(message, TrustRole.DIRECTOR, stolen(sea))
    sea.proxy.to_client(NAME, Publication(topic, payload, FORGED_ID).packet().encoded())


def far_revision(sea: Waters) -> None:
    now_s = int(time.time())
    far = Desired(
        org="acme",
        connection=NAME,
        unit="self",
        epoch=1,
        revision=REVISION_MAX,
        issued_s=now_s,
        expires_s=now_s + 600,
        assignments=(),
        blob_keys={},
        hardware_class=hardware_class(),
    )
    forge(sea, TOPICS.desired(NAME, "self"), far)
    wait_for(lambda: unit(sea)["reported_revision"] == REVISION_MAX, "it is heard", PATIENCE_S)


def far_time(sea: Waters) -> None:
    far = FleetTime(org="acme", epoch=1, time_s=YEAR_2100_S, root_number=1)
    forge(sea, TOPICS.time, far)


def unit(sea: Waters) -> dict[str, Any]:
    [found] = sea.live.get(f"/devices/{NAME}")["units"]
    return dict(found)


def command(sea: Waters, *arguments: str | Path) -> Answer:
    url = str(sea.live.http.base_url).removesuffix("/api/v1/")
    answer = wherry("--server", url, "--token", sea.live.token, *arguments)
    assert answer.status == 0, answer
    return answer


def succeed(sea: Waters, *options: str | Path) -> Path:
    """Draft and sign the root that follows the first."""
    root = sea.live.folder.parent / "2.cose"
    first = sea.live.folder / "roots" / "1.cose"
    command(sea, "root", "draft", "--after", first, "--output", root, *options)
    command(sea, "root", "sign", root, "--key", sea.live.folder / "offline" / "root-1.pem")
    return root


def alerted(sea: Waters) -> set[str]:
    rows = sea.live.get("/alerts")
    return {row["text"] for row in rows if row["cause"] == "stale"}


@pytest.mark.parametrize(
    ("attack", "code", "told"),
    [
        pytest.param(far_revision, "ROLLBACK", "publish a root with a new", id="revision"),
        pytest.param(far_time, "EXPIRED", "for expired", id="time"),
    ],
)
def test_fast_forward_attack_is_shown_and_ended_by_commands(
    sea: Waters, attack: Any, code: str, told: str
):
    attack(sea)
    rollout_id = sea.fleet.deploy(sea.push(2), "all")
    wait_for(lambda: unit(sea)["refusal_code"] == code, "the refusal is heard", PATIENCE_S)
    assert sea.serves(NAME) == "1.0.0"
    assert f"refused: {code}" in command(sea, "device", "show", NAME).out
    director = sea.live.folder.parent / "new-director.pem"
    root = succeed(sea, "--director", director, "--new-epoch")
    sea.live.stop_service()
    shutil.copy(director, sea.live.folder / "keys" / DIRECTOR)
    sea.live.start_service()  # and it looks at once at what is wrong
    wait_for(lambda: any(told in text for text in alerted(sea)), "it is told", PATIENCE_S)
    assert sea.serves(NAME) == "1.0.0"
    command(sea, "root", "publish", root)
    sea.ends(rollout_id)
    assert unit(sea)["reported_revision"] < REVISION_MAX
    assert "refused" not in command(sea, "device", "show", NAME).out
    assert_fleet_is_well(sea, "1.1.0")


def test_indefinite_freeze_attack_withholds_a_root_and_the_operator_is_told(sea: Waters):
    """Nobody's key is stolen here: it is the broker that keeps the new root to itself."""
    hostile = Hostile(
        lambda said, way: [] if way == DOWN and said.topic == TOPICS.root(2) else [said]
    )
    sea.proxy.trouble(ALL, hostile)
    command(sea, "root", "publish", succeed(sea))
    told = len(hostile.seen)
    wait_for(
        lambda: any(said.topic == TOPICS.time for _, said in hostile.seen[told:]),
        "the time names the new root",
        PATIENCE_S,
    )
    rollout_id = sea.fleet.deploy(sea.push(2), "all")
    wait_for(lambda: unit(sea)["refusal_code"] == "STALE_TRUST", "it is heard", PATIENCE_S)
    assert sea.serves(NAME) == "1.0.0"
    sea.live.stop_service()
    sea.live.start_service()  # and it looks at once at what is wrong
    wait_for(
        lambda: any("has stale trust" in text for text in alerted(sea)), "it is told", PATIENCE_S
    )
    sea.proxy.trouble(ALL, Hostile())
    sea.proxy.cut(NAME)
    sea.ends(rollout_id)
    assert_fleet_is_well(sea, "1.1.0")
