"""Every command line that README and docs show is run, in one journey of one device; the rest has
a reason. A line that no table here knows fails.
"""

import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from wherry_agent.main import _parser as agent_parser
from wherry_controller.cli.app import app

from tests.house.documented import documented, lines_of
from tests.house.journey import Journey, wait_for

NOT_RUN: Final = {
    "wherry-firmware-sim --flash FILE [--keys FILE --threshold K] [--slot-size BYTES] "
    "[--arena-size BYTES]": "a synopsis; tests/firmware/test_command_line.py runs the program",
}
Step = Callable[[Journey], None]


def run(line: str, *, status: int = 0, says: str = "") -> tuple[str, Step]:
    """A line that ends by itself with `status`, and what it must have said."""

    def step(journey: Journey) -> None:
        answer = journey.run(line)
        assert answer.status == status, (line, answer)
        assert says in answer.out + answer.err, (line, answer)

    return line, step


def start(line: str, says: str = "") -> tuple[str, Step]:
    """A line that goes on in the background."""

    def step(journey: Journey) -> None:
        journey.start(line)
        if says:
            journey.wait_said(line, says)

    return line, step


def watch(line: str, says: str, status: int) -> tuple[str, Step]:
    """A line that goes on until Ctrl-C."""

    def step(journey: Journey) -> None:
        journey.start(line)
        journey.wait_said(line, says)
        assert journey.end(line, signal.SIGINT) == status

    return line, step


def do(step: Step) -> tuple[None, Step]:
    """Something that no document shows."""
    return None, step


def wait_online(journey: Journey) -> None:
    wait_for(lambda: journey.ok("device", "show", "pump-17")["is_online"], "the device is online")


def wait_broker(journey: Journey) -> None:
    wait_for(lambda: journey.ok("status")["link_is_up"], "the controller is at the broker")


def export_class(journey: Journey) -> None:
    text = journey.run("wherry class show linux-arm64").out
    Path("pump-board.toml").write_text(text.replace('"linux-arm64"', '"pump-board"'))


def take_keys_away(journey: Journey) -> None:
    """Off the controller's machine, as `init` asks."""
    for path in Path("wherry-data/offline").glob("*.pem"):
        shutil.move(path, path.name)
    shutil.copy("wherry-data/roots/1.cose", "1.cose")
    del journey


def push_next(journey: Journey) -> None:
    """1.1.0, made with lines of the same form."""
    output = "pump-anomaly-1.1.0.wherry"
    journey.ok("model", "package", "--input", journey.digits / "digits-1.1.0.onnx", "--name",
               "pump-anomaly", "--version", "1.1.0", "--calibration", "samples.npz",
               "--manifest", "pump.toml", "--output", output)  # fmt: skip
    journey.ok("model", "sign", output, "--key", "release-1.pem")
    journey.ok("registry", "push", output)


def wait_serves(version: str) -> tuple[None, Step]:
    """Until the device has confirmed that version."""

    def step(journey: Journey) -> None:
        def serves() -> bool:
            [model] = journey.ok("device", "show", "pump-17")["units"][0]["models"]
            is_settled = model["phase"] == "idle" and model["outcome"] == "confirmed"
            return is_settled and bool(model["active_version"] == version)

        wait_for(serves, f"the device serves {version}")

    return None, step


QUICK: Final = "[trial]\ntrial_s_min = 1.0\n"  # where no document shows the line; else it is 10 s


def draft(journey: Journey) -> None:
    Path("quick.toml").write_text(QUICK)
    made = journey.ok("rollout", "create", "pump-anomaly:1.1.0", "--target", "all", "--draft",
                      "--attempt", "1", "--file", "quick.toml")  # fmt: skip
    journey.replaced["approve pump-anomaly-1.1.0-2"] = f"approve {made['id']}"


def close_open(journey: Journey) -> None:
    """A rollback leaves its units' rollout open; the next one needs them free."""
    for row in journey.ok("rollout", "list"):
        if row["is_open"]:
            journey.ok("rollout", "abort", row["id"], "--reason", "rolled back")


def name_newest(journey: Journey) -> None:
    newest = journey.ok("rollout", "list")[0]
    journey.replaced["abort pump-anomaly-1.1.0-2"] = f"abort {newest['id']}"


SIMULATE: Final = "wherry device simulate sim-1 --model pump-anomaly --inputs feed.f32"


def wait_simulated(journey: Journey) -> None:
    wait_for(lambda: journey.ok("device", "show", "sim-1")["is_online"], "sim-1 is online")


def end_simulation(journey: Journey) -> None:
    """Ctrl-C, and the next lines mean the one device again."""
    assert journey.end(SIMULATE, signal.SIGINT) in (0, 130)
    journey.ok("device", "revoke", "sim-1", "--reason", "simulated enough")


def stage_green(journey: Journey) -> None:
    """A candidate that stands, and only waits for somebody who switches."""
    Path("green.toml").write_text(
        'strategy = "blue-green"\n[parameters]\nbake_s = 0\n[gate]\nrequire = []\n'
        "interval_s = 1.0\n" + QUICK
    )
    made = journey.ok("rollout", "create", "pump-anomaly:1.1.0", "--target", "all", "--file",
                      "green.toml", "--attempt", "7")  # fmt: skip
    for verb in ("switch", "decommission"):
        journey.replaced[f"{verb} {AT}"] = f"{verb} {made['id']}"

    def is_staged() -> bool:
        [waits] = journey.ok("rollout", "show", made["id"])["waiting_for"][:1] or [""]
        return "somebody to switch" in waits

    wait_for(is_staged, "the candidate stands")


def wait_baked(journey: Journey) -> None:
    def has_ended() -> bool:
        return not journey.ok("rollout", "list")[0]["is_open"]

    wait_for(has_ended, "the bake has ended")


def go_blue(journey: Journey) -> None:
    """Back to what the next lines expect."""
    journey.ok("rollback", "pump-anomaly", "--target", "all", "--to-version", "1.0.0", "--file",
               "quick.toml", "--reason", "it was a rehearsal")  # fmt: skip


def wait_measured(journey: Journey) -> None:
    def enough() -> bool:
        rows = journey.ok("telemetry", "list", "--device", "pump-17")
        return sum(row["inferences"] for row in rows if row["slot"] == "active") >= 100

    wait_for(enough, "a hundred inferences are reported")


def name_self_test(journey: Journey) -> None:
    newest = journey.ok("alerts", "list", "--state", "resolved")[0]
    for command in ("show", "explain", "ack", "resolve"):
        journey.replaced[f"alerts {command} 1"] = f"alerts {command} {newest['id']}"


def find_backup(journey: Journey) -> None:
    [made] = Path("wherry-data/backups").iterdir()
    journey.replaced["20260101T120000Z"] = made.name


def promote_again(journey: Journey) -> None:
    """Asked for by alice, so that somebody else approves it: an approver, from here on."""
    journey.ok("registry", "promote", "pump-anomaly:1.0.0", "--to", "staging",
               "--justification", "more samples")  # fmt: skip
    os.environ["WHERRY_TOKEN"] = journey.ok("operator", "add", "carol", "--role", "approver")[
        "token"
    ]


def be_alice(journey: Journey) -> None:
    del journey, os.environ["WHERRY_TOKEN"]


def retain_on_demand(journey: Journey) -> None:
    """What the next steps push has no record: the schedule would take it away."""
    journey.ok("registry", "retention", "set", "--no-schedule", "--reason", "a short journey")


def bring_back(journey: Journey) -> None:
    """Out of the archive; alice asked, carol approves."""
    journey.ok("registry", "promote", "pump-anomaly:1.0.0", "--to", "development",
               "--justification", "needed after all")  # fmt: skip
    os.environ["WHERRY_TOKEN"] = journey.ok("operator", "add", "dave", "--role", "approver")[
        "token"
    ]
    journey.ok("registry", "approve", "pump-anomaly:1.0.0")
    be_alice(journey)


PACKAGE: Final = (
    "wherry model package --input pump.onnx --name pump-anomaly --version 1.0.0 --calibration "
    "samples.npz --manifest pump.toml --output pump-anomaly-1.0.0.wherry"
)
RUN_MODEL: Final = "wherry model run pump-anomaly-1.0.0.wherry --inputs X.npy --outputs Y.npy"
ENROLL: Final = (
    "wherry-agent enroll --dir /var/lib/wherry --connection pump-17 --class linux-x86_64 "
    "--label site=oslo --request pump-17.request"
)
AT: Final = "pump-anomaly-1.1.0-2"
STEPS: Final[tuple[tuple[str | None, Step], ...]] = (
    # Found, serve, operators, classes.
    run("wherry init --org acme --operator alice", says="is founded"),
    start("mosquitto -c wherry-data/broker/mosquitto.conf"),
    start("wherry serve", says=" ready on "),
    do(wait_broker),
    run("wherry operator add bob --role viewer", says="token"),
    run("wherry operator list", says="bob"),
    run('wherry operator disable bob --reason "left the team"'),
    run("wherry class list", says="linux-arm64"),
    run("wherry class show linux-arm64", says="aarch64"),
    do(export_class),
    run("wherry class add pump-board.toml", says="pump-board"),
    # A device.
    run(ENROLL),
    run("wherry device enroll pump-17.request --answer pump-17.answer", says="pump-17"),
    run("wherry-agent enroll --dir /var/lib/wherry --answer pump-17.answer", says="acme"),
    start("wherry-agent run --config agent.toml"),
    do(wait_online),
    run("wherry device list --target label:site=oslo", says="pump-17/self"),
    run("wherry device configure --target all --performance-s 10"),
    # A model.
    run(PACKAGE, says="float against int8"),
    run("wherry model evaluate pump-anomaly-1.0.0.wherry --dataset held-out.npz "
        "--class linux-x86_64 --output pump-anomaly-1.0.0.wherry", says="accuracy"),
    run("wherry model sign pump-anomaly-1.0.0.wherry --key wherry-data/offline/release-1.pem"),
    do(take_keys_away),
    run("wherry model sign pump-anomaly-1.0.0.wherry --key release-1.pem"),
    run("wherry model verify pump-anomaly-1.0.0.wherry --root 1.cose --org acme", says="trusted"),
    run("wherry root draft --after 1.cose --output 2.cose --director new-director.pem --new-epoch",
        says="root 2 of epoch 2"),
    run("wherry root draft --after 1.cose --output 2.cose", says="root 2 of epoch 1"),
    run("wherry root sign 2.cose --key root-1.pem", says="signed by 1 of 1"),
    run("wherry root publish 2.cose", says="root 2 is published"),
    run("wherry model inspect pump-anomaly-1.0.0.wherry", says="layer0.weights"),
    run("wherry model extract pump-anomaly-1.0.0.wherry --output pump/", says="files"),
    run(RUN_MODEL, says="[128, 10]"),
    run("wherry model package --input keyword.onnx --name keyword --version 1.0.0 "
        "--calibration samples.npz --evaluate held-out.npz --plot confusion.png "
        "--output keyword-1.0.0.wherry", says="accuracy"),
    run("wherry model inspect keyword-1.0.0.wherry", says="arena"),
    run("wherry registry push pump-anomaly-1.0.0.wherry", says="is kept"),
    run("wherry registry list", says="pump-anomaly"),
    run("wherry registry show pump-anomaly:1.0.0", says="50"),
    run("wherry model gates pump-anomaly:1.0.0", says="pass accuracy"),
    run("wherry model compatibility pump-anomaly:1.0.0 --target all", says="pump-17/self"),
    run("wherry registry pull pump-anomaly:1.0.0 --output pump-anomaly-1.0.0.wherry"),
    run("wherry registry stages", says="development"),
    run('wherry registry promote pump-anomaly:1.0.0 --to staging --justification '
        '"passed in the lab"', says="waits for the approval"),
    run('wherry registry reject pump-anomaly:1.0.0 --reason "not enough samples"', says="stays"),
    do(promote_again),
    run("wherry registry approve pump-anomaly:1.0.0", says="is in staging"),
    do(be_alice),
    run('wherry registry pin pump-anomaly:1.0.0 --reason "reference for audits"', says="pinned"),
    run("wherry registry retention set --versions-max 5 --accuracy-min 0.7 --age-days-max 30 "
        '--reason "house rule"', says="newest 5"),
    do(retain_on_demand),
    run("wherry registry retention show", says="newest 5"),
    run("wherry registry retention run --dry-run", says="pinned by alice"),
    run('wherry registry unpin pump-anomaly:1.0.0 --reason "audit is over"', says="not pinned"),
    run('wherry registry archive pump-anomaly:1.0.0 --reason "superseded"', says="archived"),
    do(bring_back),
    # To the device, further, and back.
    run("wherry deploy pump-anomaly:1.0.0 --target all", says="succeeded"),
    run("wherry device ask pump-17 verify --model pump-anomaly", says="answered after"),
    run("wherry verify --target all --suite smoke --model pump-anomaly", says="smoke passed"),
    run("wherry verification list", says="smoke-1"),
    run("wherry verification show smoke-1", says="golden passed"),
    do(push_next),
    run("wherry model version check pump-anomaly-1.0.0.wherry --class linux-x86_64 --engine-abi 1",
        says="runs on"),
    run("wherry model version compare pump-anomaly-1.0.0.wherry pump-anomaly-1.1.0.wherry",
        says="the changes need PATCH"),
    run("wherry model version update pump-anomaly-1.1.0.wherry --minor --against "
        "pump-anomaly-1.0.0.wherry", says="unsigned"),
    run("wherry rollout plan pump-anomaly:1.1.0 --target all --strategy canary", says="exposure"),
    run("wherry rollout create pump-anomaly:1.1.0 --target label:site=oslo --strategy canary"),
    watch("wherry rollout watch pump-anomaly-1.1.0-2", says="running", status=130),
    run("wherry rollout list", says=AT),
    run("wherry rollout show pump-anomaly-1.1.0-2", says="canary"),
    run("wherry rollout explain pump-anomaly-1.1.0-2", says="no rule has fired"),
    run("wherry rollout shadow pump-anomaly-1.1.0-2", says="no agreement yet"),
    run("wherry rollout experiment pump-anomaly-1.1.0-2", says="continue"),
    run('wherry rollout pause pump-anomaly-1.1.0-2 --reason "storm"', says="paused"),
    run('wherry rollout resume pump-anomaly-1.1.0-2 --reason "storm is over"', says="running"),
    wait_serves("1.1.0"),
    run("wherry device show pump-17", says="active 1.1.0, previous 1.0.0"),
    run('wherry rollout advance pump-anomaly-1.1.0-2 --reason "urgent fix"'),
    run('wherry rollback pump-anomaly --target all --to-previous --reason "false alarms at night"',
        says="back to 1.0.0"),
    wait_serves("1.0.0"),
    do(close_open),
    run('wherry drill --model pump-anomaly --target pump-17 --reason "monthly drill"',
        says="drill passed"),
    do(draft),
    run("wherry rollout checks pump-anomaly-1.1.0-2", says="nothing is asked"),
    run("wherry rollout checklist pump-anomaly-1.1.0-2", says="needs a person"),
    run('wherry rollout tick pump-anomaly-1.1.0-2 procedure --note "read with the night shift"',
        says="[x] before  procedure"),
    run('wherry rollout note pump-anomaly-1.1.0-2 "pump 17 was restarted by hand"', says="noted"),
    run("wherry rollout report pump-anomaly-1.1.0-2", says="# Rollout pump-anomaly-1.1.0-2"),
    run('wherry rollout approve pump-anomaly-1.1.0-2 --reason "tested in the lab"'),
    wait_serves("1.1.0"),
    run('wherry rollback pump-anomaly --target all --to-previous --reason "false alarms"',
        says="back to 1.0.0"),
    wait_serves("1.0.0"),
    do(close_open),
    run("wherry rollout create pump-anomaly:1.1.0 --target all --strategy linear"),
    do(name_newest),
    run('wherry rollout abort pump-anomaly-1.1.0-2 --reason "wrong weights" --revert'),
    wait_serves("1.0.0"),
    do(stage_green),
    run("wherry rollout switch pump-anomaly-1.1.0-2 --from blue --to green"),
    wait_serves("1.1.0"),
    do(wait_baked),
    run("wherry rollout decommission pump-anomaly-1.1.0-2", says="succeeded"),
    do(go_blue),
    wait_serves("1.0.0"),
    run("wherry group create presses --target label:line=press --dynamic", says="0 units now"),
    run("wherry group list", says="presses"),
    run("wherry group show presses", says="dynamic"),
    run('wherry group delete presses --reason "the line is gone"', says="forgotten"),
    start("wherry device simulate sim-1 --model pump-anomaly --inputs feed.f32", says="sim-1 runs"),
    do(wait_simulated),
    run("wherry deploy pump-anomaly:1.0.0 --target simulation", says="1 of 1 confirmed"),
    do(end_simulation),
    run("wherry deploy pump-anomaly:1.0.0 --target label:site=oslo --subset 25%", says="paused"),
    # What is going on.
    watch("wherry telemetry tail --device pump-17", says="inferences=", status=130),
    run("wherry telemetry list", says="pump-anomaly"),
    run("wherry telemetry events --device pump-17", says="confirmed"),
    run("wherry metric push complaints 3 --target label:site=oslo", says="complaints 3 is noted"),
    run("wherry metric list --name complaints", says="label:site=oslo"),
    run("wherry status", says="acme"),
    run("wherry doctor", says="pass  broker"),
    run("wherry alerts test", status=18, says="nobody would be told"),
    do(name_self_test),
    run("wherry alerts list --limit 10 --state open"),
    run("wherry alerts show 1", says="resolved by wherry"),
    run("wherry alerts explain 1", says="above 0.05"),
    run("wherry alerts ready --target all", status=18, says="no self-test arrived"),
    run("wherry report fleet --output fleet.md", says="written to fleet.md"),
    run("wherry report kept", says="no report was made on schedule"),
    run("wherry report watched", says="watching"),
    run('wherry alerts ack 1 --reason "looking at it"', status=14, says="resolved already"),
    run('wherry alerts resolve 1 --reason "new sensor"', status=14, says="resolved already"),
    do(wait_measured),
    run("wherry baseline record pump-anomaly --target all --duration 3600 --output baseline.json",
        says="pump-anomaly-1-linux-x86_64-1: "),
    run("wherry baseline list", says="pump-anomaly-1-linux-x86_64-1"),
    run("wherry baseline show pump-anomaly-1-linux-x86_64-1 --output baseline.json", says="p95"),
    run('wherry baseline apply pump-anomaly-1-linux-x86_64-1 --reason "first week in the field"',
        says="watch_latency_us_p95"),
    run("wherry baseline changes", says="first week"),
    run("wherry compare --target pump-17 --baseline baseline.json", says="latency_us_p95"),
    run("wherry analyze --target all --metric performance", says="need a profile"),
    run('wherry baseline revert pump-anomaly --major 1 --class linux-x86_64 --reason "a storm"',
        says="-> no baseline"),
    run("wherry notify routes", says="nobody is told"),
    run("wherry notify test on-call", status=15, says="not in wherry.toml"),
    run("wherry notify list --state waiting", says="no messages"),
    run("wherry notify dead", says="nothing was given up"),
    run("wherry notify show 1", status=15, says="does not exist"),
    run('wherry notify resend 1 --reason "their server is back"', status=15),
    run("wherry registry history pump-anomaly", says="rollout succeeded by alice"),
    run("wherry audit log --limit 20", says="pump-anomaly"),
    run("wherry audit verify", says="intact"),
    # Hard stops, and the end.
    run('wherry stop --reason "wrong model is spreading"'),
    run('wherry go --reason "found and fixed"'),
    run('wherry device isolate pump-17 --reason "smells burnt"'),
    run('wherry device release pump-17 --reason "new fan"'),
    run('wherry device revoke pump-17 --reason "stolen"'),
    run("wherry backup"),
    do(find_backup),
    run("wherry --data new-data restore wherry-data/backups/20260101T120000Z", says="restored"),
)  # fmt: skip
LINES: Final = {line for line, _ in STEPS if line is not None}


@cache
def wherry_command() -> Any:
    """The whole command: built once, since that takes half a second."""
    return typer.main.get_command(app())


def test_every_documented_command_is_run_or_has_a_reason() -> None:
    unknown = {line: places for line, places in documented().items()
               if line not in LINES and line not in NOT_RUN}  # fmt: skip
    assert unknown == {}


def test_nothing_is_excused_that_no_document_shows() -> None:
    assert [line for line in NOT_RUN if line not in documented()] == []


def test_lines_are_found_in_code_blocks_only() -> None:
    text = """Try `wherry inline`.

```
$ wherry one --flag \\
    two
.venv/bin/wherry three
ls wherry
│ wherry picture
```

```toml
wherry = "no"
```
"""
    assert list(lines_of(text)) == ["wherry one --flag two", "wherry three"]


@pytest.mark.parametrize("line", sorted(documented()))
def test_every_documented_line_is_one_that_the_program_understands(line: str) -> None:
    if line in NOT_RUN or line.startswith("mosquitto"):
        return
    program, *words = shlex.split(line)
    if program == "wherry-agent":
        agent_parser().parse_args(words)
        return
    command = wherry_command()
    if words[0] == "--data":
        words = words[2:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)


def test_every_command_is_documented_with_an_example_that_is_its_own() -> None:
    text = (Path(__file__).parents[2] / "docs" / "CLI.md").read_text(encoding="utf-8")
    shown = list(lines_of(text))
    assert len(list(all_commands())) > 30
    for name in all_commands():
        assert f"### `{name}`\n" in text
        assert [line for line in shown if is_call_of(line, name)], f"{name} has no example"


def is_call_of(line: str, name: str) -> bool:
    return f"{line} ".replace(" --data new-data", "").startswith(f"{name} ")


def all_commands() -> Iterator[str]:
    def walk(group: object, words: str) -> Iterator[str]:
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            if hasattr(command, "commands"):
                yield from walk(command, f"{words} {name}")
            else:
                yield f"{words} {name}"

    yield from walk(wherry_command(), "wherry")


@pytest.mark.system
@pytest.mark.slow
def test_the_documented_commands_work_one_after_the_other(
    tmp_path: Path, digits: Path, mosquitto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WHERRY_")]:
        monkeypatch.delenv(name)
    journey = Journey(tmp_path, digits, mosquitto)
    journey.prepare()
    try:
        for _, step in STEPS:
            step(journey)
    finally:
        journey.close()
