"""`wherry root …`: the next root of trust, drafted and signed where its keys are."""

import time
from base64 import b64encode
from pathlib import Path
from typing import Annotated

import typer
from wherry_protocol import cose
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import TrustRole

from wherry_controller import succession
from wherry_controller.cli.client import ask
from wherry_controller.cli.files import read_file, signing_key, write_file
from wherry_controller.cli.output import JsonOption, show
from wherry_controller.layout import write_durably

app = typer.Typer(help="Draft, sign and publish the next root of trust.")
RootArgument = Annotated[Path, typer.Argument(help="A root document (.cose).")]
DAY_S = 86_400


@app.command()
def draft(
    after: Annotated[Path, typer.Option(help="The newest root: it is followed by this one.")],
    output: Annotated[Path, typer.Option(help="Where the unsigned root goes.")],
    director: Annotated[
        Path | None,
        typer.Option(help="Another director's key (PEM); a new one is made where none is."),
    ] = None,
    new_epoch: Annotated[
        bool, typer.Option("--new-epoch", help="Void whatever the director has signed so far.")
    ] = False,
    days: Annotated[int, typer.Option(help="How long it holds.", min=1, max=3650)] = 365,
    json: JsonOption = False,
) -> None:
    """Write the root that follows another one; nobody has signed it yet.

    wherry root draft --after 1.cose --output 2.cose
    """
    newest = read_file(after, "root")
    succession.content(newest)  # before a key is made for it
    makes_key = director is not None and not director.exists()
    made = succession.draft(
        newest,
        int(time.time()),
        director=None if director is None else _director_key(director).public,
        is_new_epoch=new_epoch,
        valid_s=days * DAY_S,
    )
    write_file(output, made)
    root = succession.content(made)
    shown = {"output": str(output), "number": root.number, "epoch": root.epoch}
    needed = root.roles[TrustRole.ROOT].threshold
    text = f"{output}: root {root.number} of epoch {root.epoch}; {needed} root keys must sign it"
    if makes_key:
        text += f"\n{director}: a new director key, made because there was no such file"
    show(shown | {"signatures_needed": needed, "made_director_key": makes_key}, text)


def _director_key(path: Path) -> SigningKey:
    if not path.exists():
        write_durably(path, SigningKey.generate().to_pem())
    return signing_key(path, None)


@app.command()
def sign(
    root: RootArgument,
    key: Annotated[Path, typer.Option(help="A root key (PEM).")],
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Where the key's passphrase stands; else it is asked for.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Add one root key's signature.

    wherry root sign 2.cose --key root-1.pem
    """
    signed = succession.sign(read_file(root, "root"), signing_key(key, passphrase_file))
    write_file(root, signed)
    signers = [one.hex() for one in cose.signer_ids(signed)]
    needed = succession.content(signed).roles[TrustRole.ROOT].threshold
    show(
        {"output": str(root), "signers": signers, "signatures_needed": needed},
        f"{root}: signed by {len(signers)} of {needed} ({', '.join(signers)})",
    )


@app.command()
def publish(root: RootArgument, json: JsonOption = False) -> None:
    """Hand the next root to the controller, which tells every device.

    wherry root publish 2.cose
    """
    made = ask("POST", "/roots", body={"root": b64encode(read_file(root, "root")).decode()})
    show(made, f"root {made['number']} is published")
