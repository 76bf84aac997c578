"""The operator's guide as a voyage: its commands are run, and what it shows is what they print.

A `console` block shows commands (`$ wherry …`) and their output. A comment is a step that is not
shown, and that a reader's fleet takes by itself:

    <!-- fleet 20 -->            so many devices, pump-01 and on; 1.0.0 serves on all of them
    <!-- fleet 20 production --> the same, labelled env=production, with bench-1 and lab-1 before it
    <!-- push 1.1.0 -->          into the registry
    <!-- follow 5 -->            devices follow what they are told, for so many seconds
    <!-- report 10 -->           everybody reports each minute, for so many minutes
    <!-- report 10 1.1.0 errors=90 -->   the same, and those on 1.1.0 have these figures
    <!-- pass 24 -->             so many hours go by
    <!-- shadow 10 compared=500 agreed=490 latency_us=950 -->
                                 for so many minutes shadows do, each minute, what is said
    <!-- away pump-03 -->        it loses its link
    <!-- as bo approver -->      from here on Bo speaks, an approver; `as ada` is the first again

A `toml` block whose first line is a comment with a file's name is that file. A section (`## `)
begins with a new organization. `python -m tests.doors.guide` writes the outputs anew; the test
compares them.
"""

import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wherry_controller.core.assurance.preconditions import PRECONDITIONS
from wherry_protocol.manifest import Evaluation
from wherry_protocol.senml import Record
from wherry_protocol.sketch import sketch_of

from tests.cli.door import Answer
from tests.controller.device import FakeDevice, Message
from tests.controller.world import World
from tests.doors.quay import Quay, make_quay
from tests.house.documented import GUIDE

PART: Final = re.compile(r"^```(\w+)\n(.*?)^```\n|^<!-- (\w+)(?: (.*?))? -->\n", re.M | re.S)
PROTOCOL: Final = (1, 2)
HEALTHY: Final = {"inferences": 1000, "errors": 0, "latency_ns": 900_000, "energy_j": 3e-4}
NOTES: Final = {
    "1.0.0": "the first one",
    "1.1.0": "new weights from the autumn's recordings",
    "1.2.0": "hears the coupling as well",
}
EVALUATIONS: Final = (
    Evaluation(
        dataset="field-2026",
        dataset_digest=bytes(32),
        sample_count=4096,
        accuracy=0.94,
        f1_macro=0.91,
        latency_us_p95=950,
        latency_runs=1000,
    ),
)
LABELS: Final = ({"site": "oslo"}, {"site": "bergen"})


@dataclass
class Reader:
    """Somebody who follows the guide: an organization, a folder, and a file to be written."""

    quay: Quay
    folder: Path
    speaker: str = "ada"
    tokens: dict[str, str] = field(default_factory=dict)  # of operators who were added
    away: set[str] = field(default_factory=set)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)  # figures by version

    def run(self, line: str) -> str:
        """A command's output, as it stands on a terminal."""
        program, *arguments = shlex.split(line)
        if program != "wherry":
            raise ValueError(f"the guide runs wherry, not {program}")
        known = {path.name: path for path in self.folder.iterdir()}
        who = ("--token", self.tokens[self.speaker]) if self.speaker in self.tokens else ()
        given = (*who, *(known.get(word, word) for word in arguments))
        answer: Answer = self.quay.wherry(*given)
        printed = answer.out + answer.err
        return printed.replace(f"{self.folder}/", "").rstrip("\n") + "\n"


def fleet(reader: Reader, count: str, environment: str = "") -> None:
    names = [f"pump-{number:02d}" for number in range(1, int(count) + 1)]
    label = {"env": environment} if environment else {}
    for number, name in enumerate(names):
        reader.quay.enroll(name, labels=LABELS[number % 2] | label, protocol=PROTOCOL)
    if environment:
        reader.quay.enroll("bench-1", labels={"env": "simulation"}, protocol=PROTOCOL)
        reader.quay.enroll("lab-1", labels={"env": "staging"}, protocol=PROTOCOL)
    push(reader, "1.0.0")
    reader.quay.rest("POST", "/rollouts", {
        "model": "digits", "version": "1.0.0", "target": "all",
        "force": list(PRECONDITIONS) if environment else [], "reason": "first installation",
        "plan": {"trial": {"good_inferences_min": 100}},
    })  # fmt: skip
    reader.quay.go(5)


def push(reader: Reader, version: str) -> None:
    reader.quay.push(version, notes=NOTES[version], evaluations=EVALUATIONS)


def follow(reader: Reader, seconds: str) -> None:
    reader.quay.go(float(seconds))


def report(reader: Reader, minutes: str, version: str = "", *figures: str) -> None:
    if version:
        given = dict(figure.split("=") for figure in figures)
        reader.versions[version] = {name: int(value) for name, value in given.items()}

    def run(world: World) -> None:
        for _ in range(int(minutes)):
            for _ in range(12):
                world.now_s += 5.0
                world.fleet.tick(world.now_s)
            for device in world.devices.values():
                if device.name not in reader.away:
                    world.receive(*_reports(device, reader.versions))
            world.fleet.tick(world.now_s)
            world.go(1.0)

    reader.quay.at_sea(run)


def _reports(device: FakeDevice, versions: dict[str, dict[str, Any]]) -> list[Message]:
    """A minute of one device: what its model did, and what it has left."""
    figures = HEALTHY | versions.get(device.active["digits"].version, {})
    base = f"{device.topics.org}/{device.name}/{device.unit}/"
    resources = (
        Record(base_name=base, name="memory.rss", unit="B", value=38e6),
        Record(name="memory.budget", unit="B", value=64e6),
    )
    performance = device.performance("digits", **figures)
    return [device.telemetry(performance), device.telemetry(resources)]


def shadow(reader: Reader, minutes: str, *figures: str) -> None:
    given = {name: int(value) for name, value in (figure.split("=") for figure in figures)}

    def run(world: World) -> None:
        for _ in range(int(minutes)):
            world.now_s += 60.0
            for device in world.devices.values():
                if "digits" in device.candidate:
                    world.receive(device.telemetry(_shadow_pack(device, **given)))
            world.fleet.tick(world.now_s)
            world.go(1.0)

    reader.quay.at_sea(run)


def _shadow_pack(
    device: FakeDevice, *, compared: int, agreed: int, latency_us: int
) -> tuple[Record, ...]:
    """A minute of one device's shadow, beside the version that serves."""
    standing = device.candidate["digits"]
    base = f"{device.topics.org}/{device.name}/{device.unit}/digits/{standing.version}/shadow/"
    latency = sketch_of([latency_us * 1_000] * compared)
    primary = sketch_of([HEALTHY["latency_ns"]] * compared)
    return (
        Record(base_name=base, name="digest", string=standing.digest.hex()),
        Record(name="inferences", unit="1", value=float(compared)),
        Record(name="errors", unit="1", value=0.0),
        Record(name="latency.count", unit="1", value=float(latency.count)),
        Record(name="latency.sum", unit="s", value=latency.sum_ns / 1e9),
        Record(name="latency.sketch", data=latency.to_bytes()),
        Record(name="interval", unit="s", value=60.0),
        Record(name="shadow.compared", unit="1", value=float(compared)),
        Record(name="shadow.agreed", unit="1", value=float(agreed)),
        Record(name="shadow.primary_latency", data=primary.to_bytes()),
    )


def speak_as(reader: Reader, name: str, role: str = "") -> None:
    if role and name not in reader.tokens:
        made = reader.quay.rest("POST", "/operators", {"name": name, "role": role})
        reader.tokens[name] = made["token"]
    reader.speaker = name


def let_pass(reader: Reader, hours: str) -> None:
    reader.quay.jump(float(hours) * 3600.0)


def away(reader: Reader, name: str) -> None:
    reader.away.add(name)
    reader.quay.hear(reader.quay.devices[name].presence(is_online=False))


STEPS: Final[dict[str, Callable[..., None]]] = {
    "fleet": fleet,
    "push": push,
    "follow": follow,
    "report": report,
    "pass": let_pass,
    "shadow": shadow,
    "as": speak_as,
    "away": away,
}


def sections(text: str) -> list[str]:
    """What comes before the first `## `, and each section from its heading on."""
    return re.split(r"^(?=## )", text, flags=re.M)


def played(section: str, folder: Path) -> str:
    """The section with the outputs that its commands have now."""
    if not PART.search(section):
        return section
    desk = folder / "desk"
    desk.mkdir(parents=True)
    reader = Reader(make_quay(folder / "acme"), desk)
    try:
        return PART.sub(lambda part: _part(reader, part), section)
    finally:
        reader.quay.close()


def _part(reader: Reader, part: re.Match[str]) -> str:
    kind, block, step, words = part.groups()
    if step:
        STEPS[step](reader, *shlex.split(words or ""))
    elif kind == "toml":
        (reader.folder / block.split("\n")[0].removeprefix("# ")).write_text(block)
    elif kind == "console":
        lines = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
        shown = "".join(f"$ {line}\n{reader.run(line)}" for line in lines)
        return f"```console\n{shown}```\n"
    return part.group()


def main() -> int:
    """Write the guide's outputs anew."""
    with tempfile.TemporaryDirectory() as name:
        parts = [
            played(section, Path(name) / str(number))
            for number, section in enumerate(sections(GUIDE.read_text()))
        ]
    GUIDE.write_text("".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
