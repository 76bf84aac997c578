"""Files of samples: read, quantized for whoever serves, replayed by the real loop."""

import os
import struct
import time

import pytest
from wherry_agent.config import SourceConfig
from wherry_agent.shell.feeds import open_feeds
from wherry_agent.shell.sources import SAMPLES_BYTES_MAX, read_samples
from wherry_protocol.errors import ContractError

from tests.agent.bundles import layer_image
from tests.agent.shell.serving import Device, contract, identity_image
from tests.agent.shell.test_shadow_host import Aboard
from tests.engine import programs


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


@pytest.fixture
def fed(tmp_path):
    """A host whose model `digits` is fed real units, faster than 1.0.0 answers; its file, too."""
    path = tmp_path / "samples.f32"
    path.write_bytes(struct.pack("<64f", *(value / 8 for value in range(64))))
    source = SourceConfig(model="digits", path=path, format="float32", period_ms=0.05)
    made, feeds = Aboard(), open_feeds((source,))
    made.host.loading, made.host.swapped = feeds.loading, feeds.swapped
    made.load("1.0.0", layer_image(1, ballast_rows=60_000))  # slow: what is fed waits
    made.swap("1.0.0")
    yield made, feeds.samples["digits"]
    made.host.stop()


def outputs_of(host, tag, count):
    """So many answers of this bundle, in their order."""
    found, deadline = [], time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < deadline
        found += [one for one in host.loop.drain_outputs(256) if one.tag == tag]
    return found[:count]


def swapped_under_a_feed(host, version):
    """The loop's figures when eight inputs waited and the swap began; its first answers that were
    still there to be read: the loop keeps 256, which is 13 ms of this feed."""
    deadline = time.monotonic() + 10
    while host.loop.stats().queued < 8:
        assert time.monotonic() < deadline
    before = host.loop.stats()
    host.swap(version)
    return before, outputs_of(host, host.host.active("digits").number, 16)


def test_what_waits_at_a_swap_is_given_in_the_scale_of_who_answers_it(fed):
    host, file = fed
    host.load("1.1.0", programs.identity(zero_point=40))
    loaded = host.host.loaded("digits", host.made["1.1.0"])
    data, size = file.bytes_for(loaded.manifest.contract.inputs)
    assert (size, len(data)) == (16, 64)
    for _ in range(20):
        before, answers = swapped_under_a_feed(host, "1.1.0")
        if answers[0].sequence < before.accepted:
            break
        host.swap("1.0.0")  # the first gave way before they were read: once more
    assert answers[0].sequence < before.accepted, "some had waited"
    right = [data[start : start + size] for start in range(0, len(data), size)]
    assert [one.output for one in answers if one.output not in right] == []
    assert host.loop.stats().replayed > before.replayed, "it goes on"


def test_a_bundle_that_the_file_does_not_fit_refuses_what_it_feeds(fed):
    host, _ = fed
    host.load("2.0.0", programs.identity(24))
    host.swap("2.0.0")
    answer = outputs_of(host, host.host.active("digits").number, 1)[0]
    assert answer.status_name == "WH_ERR_INPUT_SIZE"
    host.load("2.1.0", programs.identity(zero_point=7))
    host.swap("2.1.0")
    assert outputs_of(host, host.host.active("digits").number, 1)[0].status == 0


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
