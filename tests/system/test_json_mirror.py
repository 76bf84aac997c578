"""The JSON mirror over a real broker, read by somebody who knows nothing but JSON and SenML."""

import json
import queue
from base64 import urlsafe_b64decode

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from wherry_protocol.messages.desired import TelemetryConfig
from wherry_protocol.sketch import from_bytes

from tests.agent.bundles import INPUT_BYTES
from tests.system.agents import Fleet, fleet, wait_until

TOPIC = "wherry/1/acme/d/gw1/self/telemetry-json"


@pytest.fixture
def sea(mosquitto, tmp_path):
    with fleet(mosquitto, tmp_path) as one:
        yield one


@pytest.fixture
def mirror(sea):
    heard: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()
    reader = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="reader")
    reader.on_message = lambda _client, _data, message: heard.put(message)
    reader.on_connect = lambda client, *_: client.subscribe(TOPIC, 1)
    reader.connect("127.0.0.1", sea.port)
    reader.loop_start()
    yield heard
    reader.disconnect()
    reader.loop_stop()


def test_a_pack_arrives_as_json_and_says_what_the_signed_one_says(sea: Fleet, mirror):
    agent = sea.enrol().start()
    bundle = sea.director.made("1.0.0")
    sea.ashore.publish(bundle)
    often = TelemetryConfig(performance_s=1, resources_s=1, json_mirror=True)
    sea.ashore.assign(agent.device, [bundle], desired_changes={"telemetry": often})
    sea.ashore.wait_for_model(agent.device, lambda m: m.phase.name == "TRIAL", "trial")
    packs: list[list[dict]] = []

    def counted() -> list[dict] | None:
        agent.get("/inference", {"input_q": [1] * INPUT_BYTES})
        while not mirror.empty():
            message = mirror.get()
            assert (message.qos, message.retain) == (0, False)
            packs.append(json.loads(message.payload))
        inferred = [p for p in packs if any(r.get("n") == "inferences" and r["v"] > 0 for r in p)]
        return inferred[0] if inferred else None

    pack = wait_until(counted, "a pack about inferences as JSON")
    assert pack[0]["bn"] == "acme/gw1/self/digits/1.0.0/active/"
    assert abs(pack[0]["bt"] - sea.director.now_s) < 120
    told = {record["n"]: record for record in pack}
    assert told["digest"]["vs"] == bundle.digest.hex()
    data = told["latency.sketch"]["vd"]
    sketch = from_bytes(urlsafe_b64decode(data + "=" * (-len(data) % 4)))
    assert sketch.count == told["latency.count"]["v"]

    def is_signed() -> bool:
        return told["latency.sum"]["v"] in [
            record.value
            for one in sea.ashore.heard["telemetry"]
            for record in one.pack
            if record.name == "latency.sum"
        ]

    sea.ashore.wait_for(is_signed, "signed pack that says the same")
