"""`wherry init`, `serve`, `backup`, `restore`, `stop`, `go`: the controller itself."""

import getpass
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from wherry_protocol.errors import WherryError

from wherry_controller.cli.client import ask, data_dir
from wherry_controller.cli.files import read_file
from wherry_controller.cli.output import JsonOption, ReasonOption, show


class Provisioning(StrEnum):
    """Who keeps the broker's logins and access list."""

    MOSQUITTO = "mosquitto"
    NONE = "none"


RootShare = Annotated[str, typer.Option(help="Root keys: K-of-N must sign, like 2-of-3.")]
ReleaseShare = Annotated[str, typer.Option(help="Release keys: K-of-N must sign a bundle.")]


def _k_of_n(text: str, what: str) -> tuple[int, int]:
    """(threshold, keys). Raises WherryError(INVALID)."""
    threshold, dash_of, keys = text.partition("-of-")
    if not (dash_of and threshold.isdecimal() and keys.isdecimal()):
        raise WherryError(f"{what} {text!r} must be K-of-N, like 2-of-3")
    return int(threshold), int(keys)


def init(
    org: Annotated[str, typer.Option(help="The organization's name.")],
    operator: Annotated[
        str, typer.Option(help="The first operator, an admin; by default you.")
    ] = "",
    root: RootShare = "1-of-1",
    release: ReleaseShare = "1-of-1",
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Locks the root and release keys.")
    ] = None,
    broker_host: Annotated[str, typer.Option(help="Where the MQTT broker is.")] = "127.0.0.1",
    broker_port: Annotated[int, typer.Option(help="Its port.", min=1, max=65_535)] = 1883,
    device_host: Annotated[str, typer.Option(help="The broker as devices reach it.")] = "",
    ca_file: Annotated[str, typer.Option(help="The broker's certificate authority (PEM).")] = "",
    http_port: Annotated[int, typer.Option(help="Port of the API.", min=1, max=65_535)] = 8470,
    provisioning: Annotated[
        Provisioning, typer.Option(help="Who keeps the broker's logins; none: you do.")
    ] = Provisioning.MOSQUITTO,
    json: JsonOption = False,
) -> None:
    """Found an organization: keys, root of trust, database, broker configuration.

    wherry init --org acme --operator alice
    """
    from wherry_controller.founding import Charter, found
    from wherry_controller.settings import BrokerSettings, HttpSettings

    root_threshold, root_keys = _k_of_n(root, "--root")
    release_threshold, release_keys = _k_of_n(release, "--release")
    passphrase = None
    if passphrase_file is not None:
        passphrase = read_file(passphrase_file, "passphrase").strip()
    made = found(
        data_dir(),
        Charter(
            organization=org,
            operator=operator or getpass.getuser(),
            root_keys=root_keys,
            root_threshold=root_threshold,
            release_keys=release_keys,
            release_threshold=release_threshold,
            root_passphrase=passphrase,
            release_passphrase=passphrase,
            broker=BrokerSettings(
                host=broker_host,
                port=broker_port,
                device_host=device_host,
                ca_file=ca_file,
                is_tls=bool(ca_file),
                provisioning=provisioning.value,
            ),
            http=HttpSettings(port=http_port),
        ),
        time.time(),
    )
    offline = [str(path) for path in (*made.root_key_files, *made.release_key_files)]
    where = data_dir().root
    show(
        {"data": str(where), "token": made.token, "offline_keys": offline},
        f"organization {org} is founded in {where}\n"
        f"  move these keys off this machine: {', '.join(offline)}\n"
        f"  start the broker:     mosquitto -c {where}/broker/mosquitto.conf\n"
        f"  start the controller: wherry --data {where} serve",
    )


def serve(
    port: Annotated[
        int | None, typer.Option(help="Port of the API, instead of the setting.", max=65_535)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run the controller until it is told to end.

    wherry serve
    """
    from wherry_controller.serve import serve as run

    run(data_dir(), port=port, is_json=json)


def backup(json: JsonOption = False) -> None:
    """Write a backup below the data directory: database, keys, vault.

    wherry backup
    """
    made = ask("POST", "/backup")
    show(made, f"backup: {made['path']}")


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `wherry backup` made.")],
    operator: Annotated[str, typer.Option(help="Who restores; it is audited.")] = "",
    json: JsonOption = False,
) -> None:
    """Fill an empty data directory (--data) from a backup.

    wherry --data new-data restore wherry-data/backups/20260101T120000Z
    """
    from wherry_controller import backup as backups

    backups.restore(source, data_dir(), time.time(), operator or getpass.getuser())
    shown = {"data": str(data_dir().root), "source": str(source)}
    show(shown, f"{data_dir().root} is restored from {source}; start `wherry serve`")


def stop(reason: ReasonOption, json: JsonOption = False) -> None:
    """Halt every update of the fleet at once and pause every rollout.

    wherry stop --reason "wrong model is spreading"
    """
    done = ask("POST", "/stop", body={"is_stopped": True, "reason": reason})
    show(done, f"stop {done['sequence']} is out: no device installs anything until `wherry go`")


def go(reason: ReasonOption, json: JsonOption = False) -> None:
    """Let updates go on after a stop; rollouts stay paused until they are resumed.

    wherry go --reason "found and fixed"
    """
    done = ask("POST", "/stop", body={"is_stopped": False, "reason": reason})
    show(done, "devices may install again; resume the rollouts that shall go on")
