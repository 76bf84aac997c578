"""Does the inference loop live? Asked by the watchdog; a loop that waits for work lives too."""

import threading
import time

from wherry_agent.shell.blob_store import BlobStore
from wherry_agent.shell.loop_host import LoopHost, ModelLoop
from wherry_native.engine import Program
from wherry_native.loop import Instance, Loop
from wherry_native.program import Op

from tests.agent.sim_disk import SimDisk
from tests.engine.programs import ACT, Builder


def slow_program(width: int = 4096, layers: int = 40) -> Program:
    """Some hundred million multiplications."""
    b = Builder()
    here = b.activation("x", (1, width))
    source = here
    weights = b.int8("weights", (width, width), "wide")
    channels = b.channels("wide", width)
    for i in range(layers):
        following = b.activation(f"y{i}", (1, width))
        b.node(Op.FULLY_CONNECTED, f"layer{i}", (here, weights, *channels), following, **ACT)
        here = following
    return Program(b.image("slow", (source,), (here,)))


def test_a_loop_that_answers_nothing_between_two_looks_is_found_and_one_that_waits_is_not():
    host = LoopHost("self", BlobStore(SimDisk()), lambda _given: None, 8)
    loop = Loop(8)
    loop.start()
    host._models["slow"] = ModelLoop(loop)
    assert host.has_worked()
    assert host.has_worked()
    program = slow_program()
    loop.swap(Instance(program, tag=1))
    data = bytes(program.inputs[0].size_bytes)
    asker = threading.Thread(target=loop.infer, args=(data, 60.0))
    asker.start()
    deadline = time.monotonic() + 60
    found = []
    while asker.is_alive() and time.monotonic() < deadline:
        found.append(host.has_worked())
    asker.join()
    assert False in found  # it is one long inference: a hang, as far as anybody can see
    assert host.has_worked()
    assert host.has_worked()
    loop.stop()
