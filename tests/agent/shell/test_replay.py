"""Files of samples: read, quantized for whoever serves, replayed by the real loop."""

import os
import struct
import time

import pytest
from wherry_agent.config import SourceConfig
from wherry_agent.shell.sources import SAMPLES_BYTES_MAX, read_samples
from wherry_protocol.errors import ContractError

from tests.agent.shell.serving import Device, contract, identity_image


def samples(tmp_path, data, format="int8", period_ms=1.0):
    path = tmp_path / "samples.bin"
    path.write_bytes(data)
    return read_samples(SourceConfig(model="echo", path=path, format=format, period_ms=period_ms))


def test_an_int8_file_goes_to_the_loop_as_it_is_and_is_replayed_for_ever(tmp_path):
    device = Device()
    device.swap("1.0.0", identity_image(), contract())
    data, size = samples(tmp_path, bytes(range(8))).bytes_for(contract().inputs)
    device.loop.replay(data, size, 1000)
    outputs = []
    deadline = time.monotonic() + 10
    while len(outputs) < 6 and time.monotonic() < deadline:
        outputs += [output.output for output in device.loop.drain_outputs(8)]
    device.loop.stop()
    assert outputs[:4] == [bytes(range(4)), bytes(range(4, 8))] * 2


def test_a_float32_file_is_quantized_again_only_when_the_contract_changes(tmp_path):
    file = samples(tmp_path, struct.pack("<8f", 0, 1, -1, 1000, 2, 2, 2, 2), "float32")
    first, size = file.bytes_for(contract(scale=0.5, zero_point=3).inputs)
    assert (size, first) == (4, struct.pack("8b", 3, 5, 1, 127, 7, 7, 7, 7))
    assert file.bytes_for(contract(scale=0.5, zero_point=3, valid_max=9).inputs)[0] is first
    second, _ = file.bytes_for(contract(scale=0.25, zero_point=0).inputs)
    assert second == struct.pack("8b", 0, 4, -4, 127, 8, 8, 8, 8)


@pytest.mark.parametrize(("data", "format"), [(b"", "int8"), (bytes(7), "int8"),
                                              (bytes(20), "float32")])  # fmt: skip
def test_a_file_that_is_no_whole_number_of_samples_is_refused_by_name(tmp_path, data, format):
    with pytest.raises(ContractError, match=f"has {len(data)} bytes, which is no whole number"):
        samples(tmp_path, data, format).bytes_for(contract().inputs)


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "huge.bin"
    path.touch()
    os.truncate(path, SAMPLES_BYTES_MAX + 1)
    with pytest.raises(ContractError, match=f"at most {SAMPLES_BYTES_MAX}"):
        read_samples(SourceConfig(model="echo", path=path))
