"""A small real director for tests: the controller's side of the wire, and nothing else.

Pure but for its keys: it makes signed messages and encrypted chunks, and reads what devices say.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from wherry_agent.core.state import Identity
from wherry_protocol import blobs as sealed_blobs
from wherry_protocol import cose, trust
from wherry_protocol.blobs import chunk_count, chunk_of, seal_chunk
from wherry_protocol.bundle import Bundle
from wherry_protocol.codec import Message, content_type, encode
from wherry_protocol.hardware import EnergyModel, HardwareClass
from wherry_protocol.keys import AgreementKey, ConnectionKeys, SigningKey
from wherry_protocol.messages.desired import Assignment, Desired, Mode, TrialLimits
from wherry_protocol.messages.enrolment import BrokerLogin, EnrolAnswer, EnrolRequest
from wherry_protocol.messages.observed import Ack
from wherry_protocol.messages.reported import Reported
from wherry_protocol.messages.rpc import Request, TimeAnswer, Verb
from wherry_protocol.messages.trust import FleetTime, RoleKeys, Root, Stop, TrustRole
from wherry_protocol.sealed import open_sealed, seal, seal_mac
from wherry_protocol.topics import Topics

from tests.agent.bundles import HARDWARE, make_bundle, sign_bundle

ORG = "acme"
NOW_S = 1_790_000_000
YEAR_S = 365 * 86_400
TRIAL = TrialLimits(
    good_inferences_min=5,
    trial_s_min=0.0,
    trial_s_max=3600.0,
    error_rate_max=0.05,
    error_samples_min=5,
)


def hardware_class(name: str = HARDWARE, **changes: Any) -> HardwareClass:
    """A roomy class with a data-sheet energy model."""
    fields: dict[str, Any] = {
        "name": name,
        "architecture": "x86_64",
        "ram_bytes": 1 << 30,
        "flash_bytes": 1 << 30,
        "memory_budget_bytes": 64 << 20,
        "storage_budget_bytes": 256 << 20,
        "energy_model": EnergyModel(nj_per_cycle=0.5, uncertainty=0.3),
    }
    return HardwareClass(**{**fields, **changes})


def key(source: random.Random) -> SigningKey:
    return SigningKey.from_seed(source.randbytes(32))


@dataclass
class Device:
    """What the director knows of one connection."""

    name: str
    signing_public: bytes
    keys: ConnectionKeys
    identity: Identity | None = None


@dataclass
class Director:
    """Keys of all roles, the root chain, and messages made with them."""

    seed: int = 1
    release_threshold: int = 1
    now_s: int = NOW_S
    epoch: int = 0
    revision: int = 0
    stop_sequence: int = 0
    content_keys: dict[bytes, bytes] = field(default_factory=dict)
    bundles: dict[bytes, Bundle] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.root_keys = [key(self.random), key(self.random)]
        self.release_keys = [key(self.random), key(self.random)]
        self.director_key = key(self.random)
        self.agreement = AgreementKey.from_seed(self.random.randbytes(32))
        self.roots = [self._root(1, self.root_keys)]

    @property
    def topics(self) -> Topics:
        return Topics(ORG)

    # --- trust

    def _root(self, number: int, signers: list[SigningKey]) -> bytes:
        publics = tuple(one.public for one in self.root_keys)
        release = tuple(one.public for one in self.release_keys)
        root = Root(
            org=ORG,
            number=number,
            issued_s=self.now_s,
            expires_s=self.now_s + YEAR_S,
            epoch=self.epoch,
            roles={
                TrustRole.ROOT: RoleKeys(threshold=2, keys=publics),
                TrustRole.RELEASE: RoleKeys(threshold=self.release_threshold, keys=release),
                TrustRole.DIRECTOR: RoleKeys(threshold=1, keys=(self.director_key.public,)),
            },
        )
        return cose.sign(
            encode(root), content_type=content_type(Root), role=TrustRole.ROOT, keys=signers
        )

    def rotate(self, *, epoch: int | None = None, with_new_director: bool = True) -> bytes:
        """The next root of the chain."""
        if epoch is not None:
            self.epoch = epoch
        if with_new_director:
            self.director_key = key(self.random)
        root = self._root(len(self.roots) + 1, self.root_keys)
        self.roots.append(root)
        return root

    def sealed(self, message: Message) -> bytes:
        return seal(message, TrustRole.DIRECTOR, self.director_key)

    # --- devices

    def enrol_in_memory(
        self, name: str = "gw1", classes: dict[str, HardwareClass] | None = None
    ) -> Device:
        """A device whose identity needs no files."""
        signing = key(self.random)
        agreement = AgreementKey.from_seed(self.random.randbytes(32))
        keys = agreement.agree(self.agreement.public, ORG, name)
        identity = Identity(ORG, name, signing, keys, classes or {"self": hardware_class()})
        return Device(name, signing.public, keys, identity)

    def enrol(
        self,
        request: bytes,
        login: BrokerLogin,
        classes: dict[str, HardwareClass] | None = None,
    ) -> tuple[Device, bytes]:
        """(device, sealed answer) for a request file."""
        from wherry_protocol.codec import decode

        claimed = decode(EnrolRequest, cose.unverified_payload(request))
        asked = open_sealed(EnrolRequest, request, TrustRole.DEVICE, [claimed.signing_key])
        known = classes or {u.unit: hardware_class(u.hardware_class) for u in asked.units}
        answer = EnrolAnswer(
            org=ORG,
            connection=asked.connection,
            nonce=asked.nonce,
            issued_s=self.now_s,
            roots=tuple(self.roots),
            agreement_key=self.agreement.public,
            broker=login,
            classes=known,
        )
        keys = self.agreement.agree(asked.agreement_key, ORG, asked.connection)
        return Device(asked.connection, asked.signing_key, keys), self.sealed(answer)

    # --- bundles

    def add(self, bundle: Bundle, signers: list[SigningKey] | None = None) -> Bundle:
        """Sign a bundle and take it into the registry."""
        signed = sign_bundle(bundle, self.release_keys[:1] if signers is None else signers)
        self.bundles[signed.digest] = signed
        return signed

    def made(self, version: str = "1.0.0", **changes: Any) -> Bundle:
        """A new signed bundle."""
        return self.add(make_bundle(version, **changes))

    def content_key(self, digest: bytes) -> bytes:
        return self.content_keys.setdefault(digest, self.random.randbytes(32))

    def blobs_of(self, bundle: Bundle) -> dict[bytes, bytes]:
        """Everything a device fetches: the manifest and the blobs."""
        return {bundle.digest: bundle.manifest_bytes, **bundle.blobs}

    def chunks(self, bundle: Bundle) -> dict[str, bytes]:
        """Topic -> segment of everything of the bundle."""
        found = {}
        for digest, content in self.blobs_of(bundle).items():
            count = chunk_count(len(content))
            for index in range(count):
                segment = seal_chunk(
                    self.content_key(digest), digest, index, count, chunk_of(content, index)
                )
                found[self.topics.chunk(digest, index)] = segment
        return found

    # --- messages

    def assignment(self, bundle: Bundle, **changes: Any) -> Assignment:
        fields: dict[str, Any] = {
            "model": bundle.manifest.model,
            "manifest_digest": bundle.digest,
            "manifest_bytes": len(bundle.manifest_bytes),
            "signatures": bundle.signatures,
            "mode": Mode.ACTIVE,
            "trial": TRIAL,
        }
        return Assignment(**{**fields, **changes})

    def desired(
        self, device: Device, assignments: Iterable[Assignment] = (), **changes: Any
    ) -> Desired:
        """The next revision for the unit `self`."""
        self.revision += 1
        assigned = tuple(assignments)
        fields: dict[str, Any] = {
            "org": ORG,
            "connection": device.name,
            "unit": "self",
            "epoch": self.epoch,
            "revision": self.revision,
            "issued_s": self.now_s,
            "expires_s": self.now_s + 86_400,
            "assignments": assigned,
            "blob_keys": self._wrapped(device, assigned),
            "hardware_class": hardware_class(),
        }
        return Desired(**{**fields, **changes})

    def _wrapped(self, device: Device, assigned: tuple[Assignment, ...]) -> dict[bytes, bytes]:
        digests = {
            digest
            for one in assigned
            if one.manifest_digest in self.bundles
            for digest in self.blobs_of(self.bundles[one.manifest_digest])
        }
        wrap = device.keys.wrap_key
        return {d: sealed_blobs.wrap_key(wrap, self.content_key(d)) for d in sorted(digests)}

    def time_answer(
        self, device: Device, nonce: bytes, unit: str = "self", **changes: Any
    ) -> bytes:
        answer = TimeAnswer(
            nonce=nonce,
            time_s=changes.pop("time_s", self.now_s),
            epoch=self.epoch,
            root_number=changes.pop("root_number", len(self.roots)),
        )
        return self.request(device, Verb.TIME, encode(answer), unit)

    def request(
        self, device: Device, verb: Verb, body: bytes = b"", unit: str = "self", **changes: Any
    ) -> bytes:
        fields: dict[str, Any] = {
            "org": ORG,
            "connection": device.name,
            "unit": unit,
            "id": self.random.randbytes(16),
            "issued_s": self.now_s,
            "expires_s": self.now_s + 60,
            "verb": verb,
            "body": body,
        }
        return self.sealed(Request(**{**fields, **changes}))

    def fleet_time(self, time_s: int | None = None, root_number: int | None = None) -> bytes:
        message = FleetTime(
            org=ORG,
            epoch=self.epoch,
            time_s=self.now_s if time_s is None else time_s,
            root_number=len(self.roots) if root_number is None else root_number,
        )
        return self.sealed(message)

    def stop(self, is_stopped: bool) -> bytes:
        self.stop_sequence += 1
        return self.sealed(
            Stop(
                org=ORG,
                epoch=self.epoch,
                sequence=self.stop_sequence,
                issued_s=self.now_s,
                is_stopped=is_stopped,
                reason="test",
            )
        )

    def ack(self, device: Device, boot_id: bytes, sequence: int) -> bytes:
        ack = Ack(org=ORG, connection=device.name, boot_id=boot_id, sequence=sequence)
        return seal_mac(ack, device.keys.mac_key)

    def open_reported(self, device: Device, data: bytes) -> Reported:
        return open_sealed(Reported, data, TrustRole.DEVICE, [device.signing_public])

    def trust_state(self) -> trust.TrustState:
        return trust.start(ORG, tuple(self.roots))
