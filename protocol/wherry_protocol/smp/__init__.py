"""SMP (MCUmgr's protocol) without I/O: serial frames, messages, requests, and a client.

The bytes come and go through a serial port that somebody else owns. docs/SPEC-firmware.md.
"""

from wherry_protocol.smp.client import Answered, Failed, Outcome, Send, SmpClient, Upload
from wherry_protocol.smp.frame import FrameDecoder, encode_frame
from wherry_protocol.smp.message import Message, Op, decode_message, encode_message
from wherry_protocol.smp.refusals import General, ImageCode, RefusedError, WherryCode
from wherry_protocol.smp.requests import (
    WHERRY_GROUP,
    HistogramPart,
    InferAnswer,
    Parameters,
    Request,
    SlotState,
    Statistics,
    UploadAnswer,
    confirm_image,
    echo,
    erase_image,
    histogram,
    infer,
    parameters,
    read_slots,
    reset,
    statistics,
    try_image,
    upload_chunk,
)

__all__ = [
    "WHERRY_GROUP",
    "Answered",
    "Failed",
    "FrameDecoder",
    "General",
    "HistogramPart",
    "ImageCode",
    "InferAnswer",
    "Message",
    "Op",
    "Outcome",
    "Parameters",
    "RefusedError",
    "Request",
    "Send",
    "SlotState",
    "SmpClient",
    "Statistics",
    "Upload",
    "UploadAnswer",
    "WherryCode",
    "confirm_image",
    "decode_message",
    "echo",
    "encode_frame",
    "encode_message",
    "erase_image",
    "histogram",
    "infer",
    "parameters",
    "read_slots",
    "reset",
    "statistics",
    "try_image",
    "upload_chunk",
]
