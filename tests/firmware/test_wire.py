"""What arrives on the wire: inference in pieces, statistics, and bytes that mean nothing."""

import base64
import random

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wherry_protocol.errors import UnreachableError
from wherry_protocol.mcuboot import ImageVersion, build_image, parse_image
from wherry_protocol.sketch import sketch_of
from wherry_protocol.smp import (
    FrameDecoder,
    Message,
    Op,
    RefusedError,
    Request,
    WherryCode,
    confirm_image,
    echo,
    encode_frame,
    encode_message,
    histogram,
    infer,
    reset,
    statistics,
)

from tests.firmware.conftest import KEYS, Start
from tests.firmware.device import Device
from tests.firmware.programs import shifted, shifting_program

LENGTH = 6000  # more than a packet holds


def serving(device: Device, length: int, steps: int = 1) -> bytes:
    """Confirms a program that adds 1 per step; the image."""
    image = build_image(
        shifting_program(1, length=length, steps=steps), ImageVersion(1, 0, 0), KEYS[:1]
    )
    device.upload(image)
    device.ask(confirm_image(parse_image(image).digest))
    device.ask(reset())
    return image


def refused(device: Device, request: Request[object]) -> int:
    with pytest.raises(RefusedError) as caught:
        device.ask(request)
    assert caught.value.group == 87
    return caught.value.rc


@given(data=st.binary(min_size=48, max_size=48), cut=st.integers(1, 47))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_input_in_pieces_gives_the_same_output(start: Start, data: bytes, cut: int) -> None:
    device = start()
    try:
        if not device.ask(statistics()).digest:
            serving(device, 48, steps=3)
        first = device.ask(infer(data[:cut]))
        assert (first.offset, first.output) == (cut, None)
        assert device.ask(infer(data[cut:], offset=cut)).output == shifted(data, 3)
        assert device.ask(infer(data)).output == shifted(data, 3)
    finally:
        device.stop()


def test_pieces_out_of_order_or_beyond_the_end_are_refused_and_counted(start: Start) -> None:
    device = start()
    serving(device, 48)
    assert refused(device, infer(bytes(8), offset=8)) == WherryCode.OFFSET
    assert refused(device, infer(bytes(49))) == WherryCode.INPUT_TOO_LONG
    device.ask(infer(bytes(40)))
    assert refused(device, infer(bytes(9), offset=40)) == WherryCode.INPUT_TOO_LONG
    counts = device.ask(statistics())
    assert (counts.inference_count, counts.error_count, counts.refused_count) == (0, 0, 3)


def test_a_program_whose_output_fits_no_packet_is_refused_before_it_runs(start: Start) -> None:
    device = start()
    image = build_image(shifting_program(1, length=LENGTH), ImageVersion(1, 0, 0), KEYS[:1])
    device.upload(image)
    assert refused(device, confirm_image(parse_image(image).digest)) == 5


def test_statistics_tell_what_runs_and_how_well(start: Start) -> None:
    device = start()
    image = serving(device, 16)
    durations = [device.ask(infer(bytes(16))).duration_ns or 0 for _ in range(50)]
    counts = device.ask(statistics())
    assert counts.inference_count == 50
    assert counts.sum_ns == sum(durations)
    assert counts.max_ns == max(durations)
    assert min(durations) <= counts.p50_ns <= counts.p95_ns <= counts.p99_ns <= counts.max_ns
    assert (counts.digest, counts.version) == (parse_image(image).digest, "1.0.0")
    assert (counts.input_bytes, counts.output_bytes) == (16, 16)
    assert counts.is_confirmed
    part = device.ask(histogram())
    assert dict(part.buckets) == dict(sketch_of(durations).buckets)
    assert part.next_index is None


def is_alive(device: Device) -> bool:
    device.port.write(b"\n")
    return device.ask(echo("ahoy")) == "ahoy"


@pytest.mark.parametrize("seed", range(8))
def test_noise_on_the_line_does_no_harm(start: Start, seed: int) -> None:
    chance = random.Random(seed)
    device = start()
    for _ in range(40):
        kind = chance.randrange(3)
        noise = chance.randbytes(chance.randrange(1, 300))
        if kind == 1:
            noise = bytes([6, 9]) + noise + b"\n"
        elif kind == 2:
            noise = encode_frame(noise)
        device.port.write(noise)
        device.port.reset_input_buffer()
    assert is_alive(device)


GROUPS = [(Op.WRITE, 0, 0), (Op.WRITE, 1, 0), (Op.WRITE, 1, 1), (Op.WRITE, 1, 5),
          (Op.WRITE, 87, 0), (Op.READ, 87, 1), (Op.READ, 87, 2), (Op.READ, 1, 0)]  # fmt: skip
KEYS_IN_USE = ["d", "off", "data", "len", "sha", "image", "upgrade", "hash", "confirm", "slot",
               "from", "x"]  # fmt: skip


def random_value(chance: random.Random, depth: int = 0) -> object:
    kind = chance.randrange(8 if depth < 3 else 6)
    values = (
        chance.getrandbits(chance.choice([3, 16, 32, 64])), -chance.getrandbits(16),
        chance.randbytes(chance.choice([0, 31, 32, 64, 900])), "text", chance.random() < 0.5, None,
    )  # fmt: skip
    if kind < 6:
        return values[kind]
    if kind == 6:
        return [random_value(chance, depth + 1) for _ in range(3)]
    return {"k": random_value(chance, depth + 1)}


def hostile_packet(chance: random.Random) -> bytes:
    """A request of the right outer form whose body is wrong in one way or another."""
    operation, group, command = chance.choice(GROUPS)
    body = {key: random_value(chance) for key in chance.sample(KEYS_IN_USE, 4)}
    packet = bytearray(encode_message(Message(operation, group, command, 1, body)))
    if chance.random() < 0.5:
        packet[chance.randrange(8, len(packet))] ^= 1 << chance.randrange(8)
    if chance.random() < 0.3:
        packet = packet[: chance.randrange(8, len(packet))]
    packet[2:4] = (len(packet) - 8).to_bytes(2, "big")
    return bytes(packet)


@pytest.mark.parametrize("seed", range(8))
def test_malformed_requests_are_answered_or_ignored_and_what_runs_goes_on(
    start: Start, seed: int
) -> None:
    chance = random.Random(seed)
    device = start()
    serving(device, 16)
    for _ in range(100):
        device.port.write(encode_frame(hostile_packet(chance)))
        device.port.reset_input_buffer()
    assert is_alive(device)
    device.ask(reset())
    assert device.ask(infer(bytes(16))).output == shifted(bytes(16), 1)


def echo_with(nested: bytes) -> bytes:
    """An echo request that carries one more key, which nobody reads."""
    body = b"\xa2\x61d\x61x\x61a" + nested
    return bytes([1 << 3 | 2, 0]) + len(body).to_bytes(2, "big") + bytes([0, 0, 1, 0]) + body


@pytest.mark.parametrize(
    ("depth", "answer"), [(0, {"r": "x"}), (6, {"r": "x"}), (9, {"rc": 3}), (3000, {"rc": 3})]
)
def test_deeply_nested_bodies_are_refused(
    start: Start, depth: int, answer: dict[str, object]
) -> None:
    device = start()
    device.port.write(encode_frame(echo_with(b"\x81" * depth + b"\x00")))
    device.port.timeout = 2
    (packet,) = FrameDecoder().feed(device.port.readline())
    assert cbor2.loads(packet[8:]) == answer


def test_a_frame_whose_checksum_is_wrong_is_not_served(start: Start) -> None:
    device = start()
    sound = encode_message(Message(Op.WRITE, 0, 0, 1, {"d": "damaged"}))
    text = base64.b64encode((len(sound) + 2).to_bytes(2, "big") + sound + b"\0\0")
    device.port.write(b"\x06\x09" + text + b"\n")
    device.port.write(encode_frame(encode_message(Message(Op.WRITE, 0, 0, 2, {"d": "sound"}))))
    device.port.timeout = 2
    (packet,) = FrameDecoder().feed(device.port.readline())
    assert cbor2.loads(packet[8:]) == {"r": "sound"}


def test_an_unknown_command_is_not_supported(start: Start) -> None:
    device = start()
    with pytest.raises(RefusedError, match="NOT_SUPPORTED"):
        device.ask(Request(Op.READ, 0, 2, lambda body: body))


def test_a_client_of_protocol_version_1_gets_a_general_code(start: Start) -> None:
    device = start()
    request = Message(Op.WRITE, 1, 0, 9, {"hash": bytes(32)}, version=0)
    device.port.write(encode_frame(encode_message(request)))
    device.port.timeout = 2
    (packet,) = FrameDecoder().feed(device.port.readline())
    assert packet[0] >> 3 & 3 == 0
    assert cbor2.loads(packet[8:]) == {"rc": 5}


def test_a_silent_device_is_unreachable(start: Start) -> None:
    device = start(timeout_us=100_000)
    device.freeze(True)
    try:
        with pytest.raises(UnreachableError, match="does not answer"):
            device.ask(echo("ahoy"))
    finally:
        device.freeze(False)
