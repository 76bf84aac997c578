"""Serial frames of SMP: how a packet travels over a UART that may also print text.

Rules, in order:
1. A packet becomes length (16 bits, big-endian, packet + CRC) | packet | CRC16-XMODEM of the
   packet, in base64, cut into lines of at most 127 bytes: `06 09` begins the first line, `04 14`
   each further one, `\\n` ends every line.
2. Anything that is not such a line is the console's text: it is skipped, not an error.
3. A frame that is damaged is dropped and counted; the next `06 09` begins anew.
4. Fed whole or byte by byte, the same packets come out.
5. No more than `packet_bytes_max` and one line are ever held.

Source: Zephyr, "SMP transport over console (serial)".

>>> FrameDecoder().feed(encode_frame(b"ahoy"))
[b'ahoy']
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from binascii import crc_hqx
from typing import Final

from wherry_protocol.errors import LimitError

START: Final = b"\x06\x09"
CONTINUATION: Final = b"\x04\x14"
LINE_BYTES_MAX: Final = 127  # with the marker and the line's end
PACKET_BYTES_MAX: Final = 4096
_TEXT_BYTES: Final = (LINE_BYTES_MAX - len(START) - 1) // 4 * 4
_LENGTH_MAX: Final = 0xFFFF - 2


def crc16_xmodem(data: bytes) -> int:
    """CRC16 with polynomial 0x1021 and start value 0."""
    return crc_hqx(data, 0)


def encode_frame(packet: bytes) -> bytes:
    """All lines of one packet. Raises LimitError for a packet that its length cannot state."""
    if not 0 < len(packet) <= _LENGTH_MAX:
        raise LimitError(f"SMP packet of {len(packet)} bytes: must be 1 to {_LENGTH_MAX}")
    crc = crc16_xmodem(packet).to_bytes(2, "big")
    text = b64encode((len(packet) + len(crc)).to_bytes(2, "big") + packet + crc)
    pieces = [text[at : at + _TEXT_BYTES] for at in range(0, len(text), _TEXT_BYTES)]
    markers = [START] + [CONTINUATION] * (len(pieces) - 1)
    return b"".join(m + piece + b"\n" for m, piece in zip(markers, pieces, strict=True))


class FrameDecoder:
    """Finds packets in what a serial port delivers, in pieces of any size.

    `dropped_count` counts frames that began and did not end well.
    """

    def __init__(self, packet_bytes_max: int = PACKET_BYTES_MAX) -> None:
        self.dropped_count = 0
        self._packet_bytes_max = packet_bytes_max
        self._line = bytearray()
        self._is_line_too_long = False
        self._frame: bytes | None = None  # length, packet and CRC as far as they came

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that `data` completes. Raises nothing: damage is counted."""
        packets = []
        for piece in _lines(data):
            self._hold(piece.removesuffix(b"\n"))
            if piece.endswith(b"\n"):
                packet = self._end_line()
                if packet is not None:
                    packets.append(packet)
        return packets

    def _hold(self, piece: bytes) -> None:
        room = LINE_BYTES_MAX + 1 - len(self._line)  # one more for a carriage return
        self._is_line_too_long |= len(piece) > room
        self._line += piece[:room]

    def _end_line(self) -> bytes | None:
        line = bytes(self._line).removesuffix(b"\r")
        is_too_long = self._is_line_too_long
        self._line.clear()
        self._is_line_too_long = False
        marker, text = line[:2], line[2:]
        if marker == START:
            self._drop()
            self._frame = b""
        if marker not in (START, CONTINUATION) or self._frame is None:
            return None
        if is_too_long:
            self._drop()
            return None
        return self._take(self._frame, text)

    def _take(self, frame: bytes, text: bytes) -> bytes | None:
        """The packet that `text` completes; holds an incomplete frame, drops a damaged one."""
        try:
            frame += b64decode(text, validate=True)
        except Base64Error:
            self._drop()
            return None
        length = int.from_bytes(frame[:2], "big")
        self._frame = frame
        if not 2 < length <= self._packet_bytes_max + 2 or len(frame) > 2 + length:
            self._drop()
        elif len(frame) == 2 + length:
            return self._checked(frame[2:-2], frame[-2:])
        return None

    def _checked(self, packet: bytes, crc: bytes) -> bytes | None:
        if crc16_xmodem(packet) != int.from_bytes(crc, "big"):
            self._drop()
            return None
        self._frame = None
        return packet

    def _drop(self) -> None:
        self.dropped_count += self._frame is not None
        self._frame = None


def _lines(data: bytes) -> list[bytes]:
    """`data` cut after each line's end; the last piece may be empty."""
    *ended, rest = data.split(b"\n")
    return [piece + b"\n" for piece in ended] + [rest]
