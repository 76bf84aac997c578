"""A telemetry consumer as a stranger would write it: paho-mqtt, cbor2 and docs/SPEC.md §8.

Run as `python consumer.py HOST PORT USER PASSWORD PREFIX OUT.json`; it writes what it saw per
device and version once a second. It imports nothing of Wherry's.
"""

import json
import os
import signal
import sys
import threading
from typing import Any

import cbor2
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

NAME, UNIT, VALUE, STRING, BASE_NAME = 0, 1, 2, 3, -2  # SenML labels, RFC 8428 §6
PAYLOAD, PACK = 2, 2  # element of the COSE array; key of the telemetry map


class Consumer:
    """Keeps the newest figures and the sums per (device, model version)."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.messages = 0

    def on_message(self, client: Any, userdata: Any, message: mqtt.MQTTMessage) -> None:
        del client, userdata
        cose = cbor2.loads(message.payload)
        telemetry = cbor2.loads(cose.value[PAYLOAD])
        with self.lock:
            self.messages += 1
            self.take(telemetry[PACK])

    def take(self, pack: list[dict[int, Any]]) -> None:
        base = ""
        for record in pack:
            base = record.get(BASE_NAME, base)
            parts = base.strip("/").split("/")
            if len(parts) != 6:  # org/device/unit/model/version/slot: the others are resources
                continue
            key = f"{parts[1]}/{parts[2]} {parts[3]} {parts[4]}"
            row = self.rows.setdefault(key, {"inferences": 0, "errors": 0})
            name = record.get(NAME, "")
            value = record.get(VALUE, record.get(STRING))
            if name in ("inferences", "errors"):
                row[name] += value
            elif value is not None:
                row[name] = value

    def write(self, path: str) -> None:
        with self.lock:
            text = json.dumps({"messages": self.messages, "rows": self.rows}, indent=1)
        with open(f"{path}.new", "w") as file:
            file.write(text)
        os.replace(f"{path}.new", path)


def main() -> None:
    host, port, user, password, prefix, out = sys.argv[1:]
    consumer = Consumer()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-consumer")
    client.username_pw_set(user, password)
    client.on_message = consumer.on_message

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"{prefix}/d/+/+/telemetry", qos=1)
        print("consumer ready", flush=True)

    client.on_connect = on_connect
    client.connect(host, int(port))
    client.loop_start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not ended.wait(1.0):
        consumer.write(out)
    consumer.write(out)
    client.disconnect()


if __name__ == "__main__":
    main()
