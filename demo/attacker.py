"""The thief: has a copy of the controller's machine, so the director's key and the broker's
login, and wants devices to run a model of his own. He has no release key, and that is what stops
him (DESIGN: a stolen director key can assign only what release keys signed).
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from sqlite_utils import Database
from wherry_controller import keyring
from wherry_controller.keyring import Keyring
from wherry_controller.layout import DataDir
from wherry_controller.store import classes, devices, open_reader
from wherry_controller.store.devices import Unit
from wherry_protocol import blobs
from wherry_protocol.bundle import Bundle, program_image, read_bundle, write_bundle
from wherry_protocol.codec import encode
from wherry_protocol.manifest import Role
from wherry_protocol.messages.desired import Assignment, Desired, Mode, TrialLimits
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import seal
from wherry_protocol.topics import Topics

from demo.harbour import MODEL, ORG, Harbour

REVISIONS_AHEAD = 5
TRIAL = TrialLimits(
    good_inferences_min=1,
    trial_s_min=0.0,
    trial_s_max=60.0,
    error_rate_max=1.0,
    error_samples_min=1_000_000,
)


def tampered_bundle(path: Path) -> Path:
    """A copy with one weight changed and every digest made to fit again; the signatures stay."""
    bundle = read_bundle(path.read_bytes())
    manifest = bundle.manifest
    victim = next(b for b in reversed(manifest.blobs) if b.role == Role.PROGRAM)
    weights = bytearray(bundle.blobs[victim.digest])
    weights[0] ^= 0x10
    forged = replace(victim, digest=sha256(weights).digest())
    contents = {digest: c for digest, c in bundle.blobs.items() if digest != victim.digest}
    contents[forged.digest] = bytes(weights)
    members = tuple(forged if b == victim else b for b in manifest.blobs)
    image = b"".join(contents[b.digest] for b in members if b.role == Role.PROGRAM)
    changed = replace(manifest, blobs=members, program_digest=sha256(image).digest())
    fake = replace(bundle, manifest_bytes=encode(changed), blobs=contents)
    program_image(fake)  # the forgery is whole: only the signature is wrong
    target = path.with_name(f"tampered-{path.name}")
    target.write_bytes(write_bundle(fake))
    return target


def push_past_the_controller(harbour: Harbour, path: Path) -> None:
    """Publish the forgery to every unit in the director's name."""
    data = DataDir(harbour.data)
    ring = keyring.load(data)
    db = open_reader(data.database)
    bundle = read_bundle(path.read_bytes())
    password = (data.keys / "broker-controller.password").read_text().strip()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="thief")
    client.username_pw_set(f"{ORG}/controller", password)
    client.connect("127.0.0.1", harbour.broker_port)
    client.loop_start()
    content_key = os.urandom(32)
    for topic, payload in _chunks(bundle, content_key):
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    for unit in devices.units(db):
        forged = _forged(db, ring, unit, bundle, content_key)
        topic = Topics(ORG).desired(unit.connection, unit.unit)
        payload = seal(forged, TrustRole.DIRECTOR, ring.director)
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    db.close()


def _chunks(bundle: Bundle, key: bytes) -> Iterator[tuple[str, bytes]]:
    """The forged manifest and every blob, encrypted as the controller would."""
    contents = {bundle.digest: bundle.manifest_bytes, **bundle.blobs}
    for digest, content in contents.items():
        count = blobs.chunk_count(len(content))
        for index in range(count):
            chunk = blobs.chunk_of(content, index)
            yield (
                Topics(ORG).chunk(digest, index),
                blobs.seal_chunk(key, digest, index, count, chunk),
            )


def _forged(db: Database, ring: Keyring, unit: Unit, bundle: Bundle, key: bytes) -> Desired:
    connection = devices.connection(db, unit.connection)
    shared = ring.of_connection(ORG, unit.connection, connection.agreement_key)
    wrapped = blobs.wrap_key(shared.wrap_key, key)
    now_s = int(time.time())
    return Desired(
        org=ORG,
        connection=unit.connection,
        unit=unit.unit,
        epoch=unit.epoch,
        revision=unit.revision + REVISIONS_AHEAD,
        issued_s=now_s,
        expires_s=now_s + 3600,
        assignments=(
            Assignment(
                model=MODEL,
                manifest_digest=bundle.digest,
                manifest_bytes=len(bundle.manifest_bytes),
                signatures=bundle.signatures,
                mode=Mode.ACTIVE,
                trial=TRIAL,
                image_signatures=bundle.image_signatures,
            ),
        ),
        blob_keys=dict.fromkeys((bundle.digest, *bundle.blobs), wrapped),
        hardware_class=classes.get(db, unit.hardware_class),
    )
