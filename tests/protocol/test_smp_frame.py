"""Serial frames: the same packets come out however the bytes arrive, and noise does no harm."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wherry_protocol.errors import LimitError
from wherry_protocol.smp import FrameDecoder, encode_frame, frame
from wherry_protocol.smp.frame import LINE_BYTES_MAX, PACKET_BYTES_MAX

packets = st.binary(min_size=1, max_size=700)
console = st.sampled_from([b"", b"boot ok\r\n", b"\n\n", b"\x06\n", b"uart: overrun\n"])
mangled = st.binary(max_size=300).map(lambda text: text + b"\n")


def byte_by_byte(data: bytes) -> tuple[list[bytes], int]:
    decoder = FrameDecoder()
    found = [packet for byte in data for packet in decoder.feed(bytes([byte]))]
    return found, decoder.dropped_count


def whole(data: bytes) -> tuple[list[bytes], int]:
    decoder = FrameDecoder()
    return decoder.feed(data), decoder.dropped_count


@given(st.lists(st.tuples(console, packets), max_size=5))
def test_every_packet_comes_out_once_between_console_text(
    items: list[tuple[bytes, bytes]],
) -> None:
    data = b"".join(text + encode_frame(packet) for text, packet in items)
    assert whole(data) == ([packet for _, packet in items], 0)


@given(st.lists(st.one_of(mangled, packets.map(encode_frame), console), max_size=6))
def test_fed_whole_or_byte_by_byte_the_result_is_the_same(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert whole(data) == byte_by_byte(data)


@given(packets, st.data())
def test_a_flipped_bit_never_changes_a_packet(packet: bytes, data: st.DataObject) -> None:
    line = bytearray(encode_frame(packet))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= 1 << data.draw(st.integers(0, 7))
    assert whole(bytes(line) + b"\n")[0] in ([], [packet])


@given(st.binary(max_size=400), packets)
def test_after_any_noise_the_next_frame_is_found(noise: bytes, packet: bytes) -> None:
    assert whole(noise + b"\n" + encode_frame(packet))[0][-1:] == [packet]


@given(packets)
def test_no_line_is_longer_than_the_protocol_allows(packet: bytes) -> None:
    lines = encode_frame(packet).splitlines(keepends=True)
    assert max(map(len, lines)) <= LINE_BYTES_MAX
    assert lines[0][:2] == b"\x06\x09"
    assert {line[:2] for line in lines[1:]} <= {b"\x04\x14"}


def test_a_frame_that_lost_a_line_is_dropped_and_counted() -> None:
    lines = encode_frame(bytes(300)).splitlines(keepends=True)
    decoder = FrameDecoder()
    assert decoder.feed(b"".join(lines[:1] + lines[2:]) + encode_frame(b"next")) == [b"next"]
    assert decoder.dropped_count == 1


@pytest.mark.parametrize("size", [PACKET_BYTES_MAX + 1, 0xFFFD])
def test_endless_data_is_refused_by_its_announced_length(size: int) -> None:
    decoder = FrameDecoder()
    assert decoder.feed(encode_frame(bytes(size))) == []
    assert decoder.dropped_count == 1


@pytest.mark.parametrize("size", [0, 0xFFFE])
def test_a_packet_whose_length_cannot_be_stated_is_refused(size: int) -> None:
    with pytest.raises(LimitError, match="must be 1 to"):
        encode_frame(bytes(size))


def test_the_example_in_the_documentation_holds() -> None:
    assert doctest.testmod(frame).failed == 0
