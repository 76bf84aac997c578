"""`wherry-agent`: enroll a device once, then run it as a service."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry_protocol.errors import StateError, UnreachableError, WherryError
from wherry_protocol.names import (
    CONNECTION,
    HARDWARE_CLASS,
    LABEL,
    SELF,
    UNIT,
    check_name,
)

from wherry_agent import __version__
from wherry_agent.config import ConfigError, read_config
from wherry_agent.shell.transport import leave_out_tls

if TYPE_CHECKING:
    from wherry_protocol.messages.enrolment import UnitRequest

STATUS_S_MAX: Final = 5.0
SECONDS_OF: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DEFER_S_MAX: Final = 31 * 86_400
LABEL_CHARACTERS_MAX: Final = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or the error family's."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.command(parsed)
    except WherryError as error:
        print(f"wherry-agent: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"wherry-agent: {_sentence(error)}", file=sys.stderr)
        return 1
    return status


def _sentence(error: OSError) -> str:
    """What the world refused, and which file, without the number."""
    if error.filename is None:
        return error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wherry-agent", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="serve models and follow the controller")
    run.add_argument("--config", type=Path, required=True, metavar="agent.toml")
    run.set_defaults(command=_run)

    status = commands.add_parser("status", help="what the running agent on this device does")
    status.add_argument("--config", type=Path, required=True, metavar="agent.toml")
    status.set_defaults(command=_status)

    defer = commands.add_parser(
        "defer", help="put swaps that have a window off, as far as the controller allows"
    )
    defer.add_argument("--config", type=Path, required=True, metavar="agent.toml")
    defer.add_argument("--for", dest="for_s", type=_seconds, required=True, metavar="2h",
                       help="a number with s, m, h or d; 0 ends it")  # fmt: skip
    defer.set_defaults(command=_defer)

    enroll = commands.add_parser("enroll", help="make a request, or store the answer to it")
    enroll.add_argument("--dir", type=Path, required=True, help="the agent's state folder")
    step = enroll.add_mutually_exclusive_group(required=True)
    step.add_argument("--request", type=Path, metavar="FILE", help="write a signed request here")
    step.add_argument("--answer", type=Path, metavar="FILE", help="store this answer, verified")
    enroll.add_argument("--connection", metavar="NAME", help="the device's name in the fleet")
    enroll.add_argument("--class", dest="hardware_class", metavar="CLASS", help="hardware class")
    enroll.add_argument("--unit", action="append", default=[], metavar="NAME:CLASS",
                        help="a microcontroller behind this device (repeatable)")  # fmt: skip
    enroll.add_argument("--label", action="append", default=[], metavar="KEY=VALUE",
                        help="a label for selectors (repeatable)")  # fmt: skip
    enroll.set_defaults(command=_enroll)
    return parser


# --- run and status


def _run(parsed: argparse.Namespace) -> int:
    config = read_config(parsed.config)
    _check_kernels()
    leave_out_tls(config.state_dir)
    from wherry_agent.shell.answering import LogRing
    from wherry_agent.shell.station import Station

    ring = LogRing()
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[logging.StreamHandler(), ring],
    )
    Station(config, ring, __version__).run()
    return 0


def _check_kernels() -> None:
    """Without kernels no bundle loads, and each would look as if it were to blame.

    Raises ConfigError.
    """
    from wherry_native.engine import EngineError, chosen_kernels

    try:
        chosen_kernels()
    except EngineError as error:
        raise ConfigError(str(error)) from error


def _seconds(text: str) -> float:
    """`2h`, `90m`, `45s`, `1d` or `0`."""
    unit = SECONDS_OF.get(text[-1:])
    number = text if unit is None else text[:-1]
    try:
        seconds = float(number) * (1 if unit is None else unit)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= DEFER_S_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 90m, 2h or 1d, at most 31d")
    return seconds


def _defer(parsed: argparse.Namespace) -> int:
    body = json.dumps({"for_s": parsed.for_s}).encode()
    print(_ask(parsed.config, "/defer", body))
    return 0


def _status(parsed: argparse.Namespace) -> int:
    print(_ask(parsed.config, "/status"))
    return 0


def _ask(config_path: Path, path: str, body: bytes | None = None) -> str:
    """What the running agent on this device answers. Raises UnreachableError, StateError."""
    import urllib.error
    import urllib.request

    config = read_config(config_path)
    address = f"{config.http.host}:{config.http.port}"
    if config.http.port == 0:
        file = config.state_dir / "http-address"
        address = file.read_text().strip() if file.exists() else address
    try:
        with urllib.request.urlopen(f"http://{address}{path}", body, STATUS_S_MAX) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        raise StateError(f"the agent at {address} says: {error.read().decode()}") from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise UnreachableError(
            f"no agent answers at {address} ({error}); is `wherry-agent run` started?"
        ) from error


# --- enroll


def _enroll(parsed: argparse.Namespace) -> int:
    from wherry_agent.shell import identity_files

    if parsed.answer is not None:
        data = parsed.answer.read_bytes()
        try:
            answer = identity_files.keep_answer(parsed.dir, data)
        except WherryError as error:
            raise type(error)(f"{parsed.answer}: {error}", error.code) from error
        print(f"{answer.connection} is enrolled in {answer.org}; start `wherry-agent run`")
        return 0
    if not parsed.connection or not parsed.hardware_class:
        raise ConfigError("enroll --request needs --connection NAME and --class CLASS")
    check_name("connection", CONNECTION, parsed.connection)
    units = (_unit(SELF, parsed.hardware_class), *map(_named_unit, parsed.unit))
    labels = dict(map(_label, parsed.label))
    request = identity_files.make_request(parsed.dir, parsed.connection, units, labels, __version__)
    parsed.request.write_bytes(request)
    print(f"{parsed.request} is ready; carry it to `wherry device enroll`")
    return 0


def _unit(name: str, hardware_class: str) -> "UnitRequest":
    from wherry_protocol.messages.enrolment import UnitRequest

    check_name("unit", UNIT, name)
    check_name("hardware class", HARDWARE_CLASS, hardware_class)
    return UnitRequest(unit=name, hardware_class=hardware_class)


def _named_unit(text: str) -> "UnitRequest":
    name, colon, hardware_class = text.partition(":")
    if not colon:
        raise ConfigError(f"--unit {text!r} must be NAME:CLASS")
    return _unit(name, hardware_class)


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not value or len(value) > LABEL_CHARACTERS_MAX:
        raise ConfigError(f"--label {text!r} must be KEY=VALUE, at most 64 characters of value")
    return check_name("label", LABEL, key), value


if __name__ == "__main__":
    sys.exit(main())
