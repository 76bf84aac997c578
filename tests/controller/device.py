"""A device's wire side for controller tests: real keys, real messages, no model.

It implements what a controller sees of an agent: enrolment, presence, `reported`, telemetry with
one sequence per boot, and it believes a desired document, a chunk or an acknowledgement only if
its signature or tag holds.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from wherry_protocol import trust
from wherry_protocol.blobs import chunk_count, open_chunk, unwrap_key
from wherry_protocol.codec import decode, encode
from wherry_protocol.cose import unverified_payload
from wherry_protocol.errors import Code, TrustError
from wherry_protocol.keys import AgreementKey, SigningKey
from wherry_protocol.messages.desired import Assignment, Desired, Mode, assignment_id
from wherry_protocol.messages.enrolment import EnrolAnswer, EnrolRequest, UnitRequest
from wherry_protocol.messages.observed import (
    Ack,
    Event,
    Kind,
    Origin,
    Presence,
    Severity,
    Telemetry,
)
from wherry_protocol.messages.reported import (
    MissingChunks,
    ModelReport,
    Outcome,
    Phase,
    Reported,
    SlotReport,
)
from wherry_protocol.messages.rpc import (
    InferReply,
    InferRequest,
    Reply,
    Request,
    StatusReply,
    TimeAnswer,
    Verb,
    VerifyReply,
    VerifyRequest,
)
from wherry_protocol.messages.trust import TrustRole
from wherry_protocol.sealed import open_mac, open_sealed, seal, seal_mac
from wherry_protocol.senml import Record
from wherry_protocol.sketch import sketch_of
from wherry_protocol.topics import Topics

Message = tuple[str, bytes]


@dataclass
class Served:
    """What the device serves of one model."""

    digest: bytes
    version: str


@dataclass
class FakeDevice:
    """One connection with one unit. `verdict` is how its next assignments end."""

    name: str
    hardware_class: str = "linux-x86_64"
    labels: dict[str, str] = field(default_factory=dict)
    unit: str = "self"
    abi: tuple[int, int] = (1, 1)
    protocol: tuple[int, int] = (1, 1)
    verdict: Outcome = Outcome.CONFIRMED
    verdict_code: Code = Code.OK
    good_inferences: int = 1000
    signing: SigningKey = field(default_factory=SigningKey.generate)
    agreement: AgreementKey = field(default_factory=AgreementKey.generate)
    boot_id: bytes = field(default_factory=lambda: os.urandom(16))
    boot_count: int = 1
    reported_sequence: int = 0
    sequence: int = 0
    oldest: int = 1
    acked: int = 0
    revision: int = 0
    connection_number: int = 0
    nonce: bytes | None = None
    storage_free_bytes: int | None = None
    is_trust_stale: bool = False
    refusal_code: Code = Code.OK
    time_s: int | None = None
    answer: EnrolAnswer | None = None
    active: dict[str, Served] = field(default_factory=dict)
    previous: dict[str, Served] = field(default_factory=dict)
    candidate: dict[str, Served] = field(default_factory=dict)
    is_deaf: bool = False  # it reports, and reads no desired document
    fetched: list[bytes] = field(default_factory=list)  # manifests, in the order of installs
    done: dict[str, tuple[bytes, Outcome, Code]] = field(default_factory=dict)
    desired: Desired | None = None
    golden: tuple[int, int] = (4, 4)  # passed, count: what it says when it is asked to verify
    is_mute: bool = False  # it hears questions and does not answer

    def request(self) -> bytes:
        """The signed enrolment request."""
        message = EnrolRequest(
            connection=self.name,
            signing_key=self.signing.public,
            agreement_key=self.agreement.public,
            units=(UnitRequest(unit=self.unit, hardware_class=self.hardware_class),),
            labels=self.labels,
            agent_version="0",
            nonce=bytes(16),
        )
        return seal(message, TrustRole.DEVICE, self.signing)

    def request_base64(self) -> str:
        return b64encode(self.request()).decode()

    def take_answer(self, data: bytes | str) -> EnrolAnswer:
        """Believe the answer as an agent does: by the director key of the root that is in it."""
        raw = b64decode(data) if isinstance(data, str) else data
        claimed = decode(EnrolAnswer, unverified_payload(raw))
        self.trust = trust.start(claimed.org, claimed.roots)
        director = self.trust.role(TrustRole.DIRECTOR)
        self.answer = open_sealed(EnrolAnswer, raw, TrustRole.DIRECTOR, director.keys)
        self.keys = self.agreement.agree(self.answer.agreement_key, claimed.org, self.name)
        self.topics = Topics(claimed.org)
        return self.answer

    def presence(self, is_online: bool = True) -> Message:
        self.connection_number += int(is_online)
        message = Presence(
            org=self.topics.org,
            connection=self.name,
            connection_number=self.connection_number,
            is_online=is_online,
        )
        return self.topics.presence(self.name), seal_mac(message, self.keys.mac_key)

    def reported(self, missing: tuple[MissingChunks, ...] = ()) -> Message:
        self.reported_sequence += 1
        message = Reported(
            org=self.topics.org,
            connection=self.name,
            unit=self.unit,
            boot_id=self.boot_id,
            boot_count=self.boot_count,
            sequence=self.reported_sequence,
            monotonic_us=0,
            time_s=self.time_s,
            epoch=self.trust.root.epoch,
            revision=self.revision,
            root_number=self.trust.root.number,
            models=tuple(self._model(name) for name in sorted(self.active.keys() | self.done)),
            missing=missing,
            nonce=self.nonce,
            agent_version="0",
            engine_abi_min=self.abi[0],
            engine_abi_max=self.abi[1],
            protocol_min=self.protocol[0],
            protocol_max=self.protocol[1],
            hardware_class=self.hardware_class,
            storage_free_bytes=self.storage_free_bytes,
            is_trust_stale=self.is_trust_stale,
            refusal_code=self.refusal_code,
        )
        topic = self.topics.reported(self.name, self.unit)
        return topic, seal(message, TrustRole.DEVICE, self.signing)

    def _model(self, name: str) -> ModelReport:
        identity, outcome, code = self.done.get(name, (None, Outcome.NONE, Code.OK))
        return ModelReport(
            model=name,
            phase=Phase.IDLE,
            outcome=outcome,
            assignment_id=identity,
            active=_slot(self.active.get(name)),
            previous=_slot(self.previous.get(name)),
            candidate=_slot(self.candidate.get(name)),
            code=code,
            good_inferences=self.good_inferences,
        )

    def follow(self, retained: Mapping[str, bytes]) -> bool:
        """Act on the retained desired document, fetching every blob; whether it was news."""
        if self.is_deaf:
            return False
        self._follow_roots(retained)
        data = retained.get(self.topics.desired(self.name, self.unit))
        if data is None:
            return False
        try:
            desired = trust.open_director(self.trust, Desired, data)
        except TrustError:  # of the former epoch: refused until there is a new one
            return False
        if (desired.connection, desired.unit) != (self.name, self.unit):
            raise AssertionError("somebody else's desired document")
        if desired.revision <= self.revision:
            return False
        for assignment in desired.assignments:
            if self.done.get(assignment.model, (b"",))[0] != assignment_id(assignment):
                self._install(assignment, desired, retained)
        for release in desired.releases:
            for slot in (self.previous, self.candidate):
                held = slot.get(release.model)
                if held is not None and held.digest == release.manifest_digest:
                    del slot[release.model]
        self.revision, self.desired = desired.revision, desired
        return True

    def _follow_roots(self, retained: Mapping[str, bytes]) -> None:
        """The next roots; a new director epoch starts revisions anew."""
        while data := retained.get(self.topics.root(self.trust.root.number + 1)):
            epoch = self.trust.root.epoch
            self.trust = trust.advance(self.trust, data)
            self.revision = self.revision if self.trust.root.epoch == epoch else 0

    def _install(
        self, assignment: Assignment, desired: Desired, retained: Mapping[str, bytes]
    ) -> None:
        standing = self._standing(assignment)
        if standing is not None:
            self._point(assignment, standing)
            return
        self.fetched.append(assignment.manifest_digest)
        manifest_bytes = self.fetch(
            assignment.manifest_digest, assignment.manifest_bytes, desired, retained
        )
        manifest = trust.open_manifest(
            self.trust, assignment.manifest_digest, manifest_bytes, assignment.signatures
        )
        for blob in manifest.blobs:
            self.fetch(blob.digest, blob.size_bytes, desired, retained)
        self.done[assignment.model] = (
            assignment_id(assignment),
            self.verdict,
            self.verdict_code,
        )
        if self.verdict is Outcome.CONFIRMED:
            self._take(assignment, Served(assignment.manifest_digest, manifest.version))

    def _standing(self, assignment: Assignment) -> Served | None:
        """What is loaded already in any slot: nothing is fetched for it."""
        if assignment.mode is not Mode.ACTIVE:
            return None
        for slot in (self.active, self.candidate, self.previous):
            served = slot.get(assignment.model)
            if served is not None and served.digest == assignment.manifest_digest:
                return served
        return None

    def _point(self, assignment: Assignment, standing: Served) -> None:
        """One pointer, and the trial."""
        outcome = self.verdict
        is_back = self.previous.get(assignment.model) == standing
        outcome = Outcome.CONFIRMED if is_back else outcome
        code = Code.OK if outcome is Outcome.CONFIRMED else self.verdict_code
        self.done[assignment.model] = (assignment_id(assignment), outcome, code)
        if outcome is Outcome.CONFIRMED:
            self._take(assignment, standing)

    def _take(self, assignment: Assignment, served: Served) -> None:
        model = assignment.model
        if assignment.mode is not Mode.ACTIVE:
            self.candidate[model] = served
            self.done[model] = (assignment_id(assignment), Outcome.READY, Code.OK)
            return
        self.candidate.pop(model, None)
        if self.active.get(model) != served:
            if model in self.active:
                self.previous[model] = self.active[model]
            self.active[model] = served

    def fetch(
        self, digest: bytes, size: int, desired: Desired, retained: Mapping[str, bytes]
    ) -> bytes:
        """A blob from its chunks, each verified, the whole hashed."""
        key = unwrap_key(self.keys.wrap_key, desired.blob_keys[digest])
        content = b"".join(
            open_chunk(key, digest, n, size, retained[self.topics.chunk(digest, n)])
            for n in range(chunk_count(size))
        )
        if sha256(content).digest() != digest:
            raise AssertionError("the chunks are not the blob")
        return content

    def origin(self, sequence: int | None = None) -> Origin:
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        return Origin(
            org=self.topics.org,
            connection=self.name,
            unit=self.unit,
            boot_id=self.boot_id,
            sequence=sequence,
            oldest=self.oldest,
            monotonic_us=0,
            time_s=self.time_s,
        )

    def telemetry(
        self, pack: tuple[Record, ...], *, sequence: int | None = None, origin: Origin | None = None
    ) -> Message:
        message = Telemetry(origin=origin or self.origin(sequence), pack=pack)
        topic = self.topics.telemetry(self.name, self.unit)
        return topic, seal_mac(message, self.keys.mac_key)

    def event(self, text: str, kind: Kind = Kind.LOG, **values: Any) -> Message:
        message = Event(
            origin=self.origin(), kind=kind, severity=Severity.INFO, text=text, **values
        )
        return self.topics.event(self.name, self.unit), seal_mac(message, self.keys.mac_key)

    def performance(
        self,
        model: str,
        *,
        inferences: int = 100,
        errors: int = 0,
        latency_ns: int = 1_000_000,
        energy_j: float | None = None,
        energy_source: str = "measured:hwmon",
        power_w: float | None = None,
        interval_s: float = 60.0,
    ) -> tuple[Record, ...]:
        """The pack of one model that serves."""
        served = self.active[model]
        base = f"{self.topics.org}/{self.name}/{self.unit}/{model}/{served.version}/active/"
        latency = sketch_of([latency_ns] * inferences)
        found = [
            Record(base_name=base, name="digest", string=served.digest.hex()),
            Record(name="inferences", unit="1", value=float(inferences)),
            Record(name="errors", unit="1", value=float(errors)),
            Record(name="latency.count", unit="1", value=float(latency.count)),
            Record(name="latency.sum", unit="s", value=latency.sum_ns / 1e9),
            Record(name="latency.sketch", data=latency.to_bytes()),
            Record(name="interval", unit="s", value=interval_s),
        ]
        if energy_j is None:
            return (*found, Record(name="energy.per_inference.unavailable", string="no sensor"))
        return (
            *found,
            Record(name="energy.per_inference", unit="J", value=energy_j),
            Record(name="energy.source", string=energy_source),
            *([] if power_w is None else [Record(name="power.mean", unit="W", value=power_w)]),
        )

    def take_ack(self, payload: bytes) -> int:
        """Believe an acknowledgement of this boot; the sequence up to which all is committed."""
        ack = open_mac(Ack, payload, self.keys.mac_key)
        if (ack.connection, ack.boot_id) == (self.name, self.boot_id):
            self.acked = max(self.acked, ack.sequence)
        return self.acked

    def replies(self, payload: bytes) -> tuple[Message, ...]:
        """Believe a question, and answer it as a device does; not TIME, and not while mute."""
        request = trust.open_director(self.trust, Request, payload)
        if request.verb is Verb.TIME or self.is_mute:
            return ()
        code, text, body = self._answer(request)
        message = Reply(
            org=self.topics.org, connection=self.name, unit=self.unit, id=request.id,
            code=code, text=text, body=body,
        )  # fmt: skip
        topic = self.topics.reply(self.name, self.unit)
        return ((topic, seal_mac(message, self.keys.mac_key)),)

    def _answer(self, request: Request) -> tuple[Code, str, bytes]:
        if request.verb is Verb.STATUS:
            return Code.OK, "", encode(StatusReply(fields={"state": "ok"}))
        asked = decode(InferRequest if request.verb is Verb.INFER else VerifyRequest, request.body)
        served = self.active.get(asked.model)
        if served is None:
            return Code.NOT_FOUND, f"no version of {asked.model} serves here", b""
        if isinstance(asked, InferRequest):
            made = InferReply(output=bytes(4), manifest_digest=served.digest,
                              version=served.version, slot="active", latency_us=90)  # fmt: skip
            return Code.OK, "", encode(made)
        passed, count = self.golden
        digest = asked.manifest_digest or served.digest
        told = VerifyReply(is_intact=True, golden_passed=passed, golden_count=count,
                           manifest_digest=digest, latency_us_p95=90)  # fmt: skip
        return Code.OK, "", encode(told)

    def take_time(self, payload: bytes) -> TimeAnswer:
        """Believe the answer to this boot's nonce."""
        request = trust.open_director(self.trust, Request, payload)
        answer = decode(TimeAnswer, request.body)
        if answer.nonce != self.nonce:
            raise AssertionError("an answer to another nonce")
        self.time_s, self.nonce = answer.time_s, None
        return answer


def _slot(served: Served | None) -> SlotReport | None:
    return (
        None
        if served is None
        else SlotReport(manifest_digest=served.digest, version=served.version)
    )
