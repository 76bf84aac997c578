"""Messages and the client: what counts as an answer, when it asks again, how an upload goes on."""

import doctest
from contextlib import suppress
from hashlib import sha256
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_protocol.errors import Code, DecodeError, LimitError, TrustError, UnreachableError
from wherry_protocol.smp import (
    Answered,
    Failed,
    FrameDecoder,
    Message,
    Op,
    RefusedError,
    Send,
    SmpClient,
    Upload,
    UploadAnswer,
    client,
    decode_message,
    echo,
    encode_frame,
    encode_message,
    infer,
    read_slots,
    reset,
    statistics,
)

bodies = st.dictionaries(
    st.text(max_size=8),
    st.one_of(st.integers(0, 2**32), st.binary(max_size=40), st.text(max_size=20), st.booleans()),
    max_size=5,
)
messages = st.builds(
    Message,
    st.sampled_from(Op),
    st.integers(0, 0xFFFF),
    st.integers(0, 255),
    st.integers(0, 255),
    bodies,
    st.integers(0, 1),
)


@given(messages)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(st.binary(max_size=60))
def test_any_other_bytes_are_a_decode_error(data: bytes) -> None:
    with suppress(DecodeError):  # anything else that is raised fails the test
        decode_message(data)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (cbor2.dumps([1]), "map"),
        (cbor2.dumps({1: 2}), "text keys"),
        (b"\xa2\x61a\x01\x61a\x02", "not one well-formed"),
        (b"\xa1", "not one well-formed"),
        (b"\xa0\xa0", "bytes follow"),
        (b"\x81" * 40 + b"\x00", "not one well-formed"),
    ],
    ids=["a list", "a number as key", "one key twice", "cut off", "two items", "too deep"],
)
def test_a_body_that_is_not_one_map_with_text_keys_is_refused(body: bytes, word: str) -> None:
    header = bytes([1 << 3 | 1, 0]) + len(body).to_bytes(2, "big") + bytes([0, 0, 0, 0])
    with pytest.raises(DecodeError, match=word):
        decode_message(header + body)


def test_a_length_that_does_not_fit_is_refused() -> None:
    packet = encode_message(Message(Op.READ, 0, 0, 0, {}))
    with pytest.raises(DecodeError, match="announces 1 bytes, 2 follow"):
        decode_message(packet + b"\0")


def asked(data: bytes) -> Message:
    (packet,) = FrameDecoder().feed(data)
    return decode_message(packet)


def answer(question: Message, body: dict[str, Any], **changes: Any) -> bytes:
    fields = {
        "op": Op(question.op + 1),
        "group": question.group,
        "command": question.command,
        "sequence": question.sequence,
        **changes,
    }
    return encode_frame(encode_message(Message(body=body, **fields)))


def test_an_answer_that_fits_ends_the_request() -> None:
    smp = SmpClient()
    request = echo("ahoy")
    question = asked(smp.ask(request, now_us=0))
    assert smp.receive(answer(question, {"r": "ahoy"})) == [Answered(request, "ahoy")]
    assert smp.deadline_us is None


@pytest.mark.parametrize(
    "changes",
    [{"sequence": 9}, {"group": 1}, {"command": 1}, {"op": Op.READ_RESPONSE}],
    ids=["sequence", "group", "command", "operation"],
)
def test_an_answer_to_something_else_is_ignored(changes: dict[str, Any]) -> None:
    smp = SmpClient()
    question = asked(smp.ask(echo("ahoy"), now_us=0))
    assert smp.receive(answer(question, {"r": "ahoy"}, **changes)) == []
    assert smp.ignored_count == 1
    assert smp.deadline_us is not None


def test_two_requests_at_once_are_the_callers_mistake() -> None:
    smp = SmpClient()
    smp.ask(echo("a"), now_us=0)
    with pytest.raises(RuntimeError):
        smp.ask(echo("b"), now_us=0)


def test_a_repeatable_request_is_sent_again_and_then_given_up() -> None:
    smp = SmpClient(timeout_us=100, attempts_max=2)
    first = asked(smp.ask(echo("ahoy"), now_us=0))
    assert smp.elapse(99) == []
    (again,) = smp.elapse(100)
    assert isinstance(again, Send)
    assert asked(again.data).sequence != first.sequence
    assert smp.elapse(199) == []
    (outcome,) = smp.elapse(200)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, UnreachableError)
    assert "2 attempts" in str(outcome.error)


def test_a_late_answer_to_the_first_attempt_does_not_count() -> None:
    smp = SmpClient(timeout_us=100)
    first = asked(smp.ask(echo("ahoy"), now_us=0))
    smp.elapse(100)
    assert smp.receive(answer(first, {"r": "ahoy"})) == []


@pytest.mark.parametrize("request_", [reset(), infer(b"")], ids=["reset", "infer"])
def test_what_may_not_be_repeated_is_asked_once(request_: Any) -> None:
    smp = SmpClient(timeout_us=100)
    smp.ask(request_, now_us=0)
    (outcome,) = smp.elapse(100)
    assert isinstance(outcome, Failed)


@pytest.mark.parametrize(
    ("body", "group", "text"),
    [
        ({"rc": 8}, None, "NOT_SUPPORTED"),
        ({"err": {"group": 1, "rc": 32}}, 1, "NOT_ENOUGH_SIGNATURES"),
        ({"err": {"group": 87, "rc": 1}}, 87, "NO_MODEL"),
        ({"err": {"group": 5, "rc": 99}}, 5, "unknown"),
    ],
)
def test_a_refusal_of_either_version_is_one_error(
    body: dict[str, Any], group: int | None, text: str
) -> None:
    smp = SmpClient()
    question = asked(smp.ask(read_slots(), now_us=0))
    (outcome,) = smp.receive(answer(question, body))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, RefusedError)
    assert outcome.error.group == group
    assert text in str(outcome.error)


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (read_slots(), {"images": 3}),
        (read_slots(), {"images": [{"slot": True, "version": "1"}]}),
        (statistics(), {"count": -1}),
        (echo(""), {"r": 7}),
    ],
)
def test_an_answer_of_the_wrong_form_is_an_error_not_a_value(
    request_: Any, body: dict[str, Any]
) -> None:
    smp = SmpClient()
    question = asked(smp.ask(request_, now_us=0))
    (outcome,) = smp.receive(answer(question, body))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DecodeError)


class Slot:
    """A device's side of an upload: it keeps what comes in order."""

    def __init__(self, held: bytes = b"") -> None:
        self.held = held

    def take(self, body: Any) -> UploadAnswer:
        if body["off"] == len(self.held):
            self.held += body["data"]
        is_whole = "len" in body and len(self.held) == body["len"]
        return UploadAnswer(len(self.held), True if is_whole else None)


@given(st.binary(min_size=1, max_size=3000), st.integers(150, 600), st.data())
def test_an_upload_carries_every_byte_from_wherever_the_device_stands(
    image: bytes, packet_bytes_max: int, data: st.DataObject
) -> None:
    slot = Slot(image[: data.draw(st.integers(0, len(image)))])
    upload = Upload(image, packet_bytes_max)
    for request in upload.requests():
        packet = encode_message(Message(request.op, 1, 1, 0, request.body))
        assert len(packet) <= packet_bytes_max
        upload.take(slot.take(request.body))
    assert slot.held == image


def test_the_first_piece_names_the_whole() -> None:
    body = Upload(b"x" * 500, 256).next_request().body
    assert (body["len"], body["sha"], body["image"]) == (500, sha256(b"x" * 500).digest(), 0)


def test_an_upload_without_progress_ends() -> None:
    upload = Upload(b"x" * 500, 256, stalls_max=3)
    for _ in range(3):
        upload.take(UploadAnswer(0, None))
    with pytest.raises(UnreachableError, match="no progress") as caught:
        upload.take(UploadAnswer(0, None))
    assert caught.value.code == Code.NO_PROGRESS


def test_an_upload_that_arrived_otherwise_is_not_trusted() -> None:
    upload = Upload(b"x" * 500, 256)
    with pytest.raises(TrustError, match="differs"):
        upload.take(UploadAnswer(500, False))


def test_an_offset_beyond_the_image_is_refused() -> None:
    with pytest.raises(DecodeError, match="offset 501 of 500"):
        Upload(b"x" * 500, 256).take(UploadAnswer(501, None))


def test_packets_without_room_for_data_are_refused() -> None:
    with pytest.raises(LimitError, match="at least 32"):
        Upload(b"x" * 500, 100).next_request()


def test_the_example_in_the_documentation_holds() -> None:
    assert doctest.testmod(client).failed == 0
