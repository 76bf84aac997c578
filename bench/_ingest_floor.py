"""The floor of bench/ingest.py: a paho client that acknowledges each report and does nothing else.

usage: bench/_ingest_floor.py PORT PASSWORD COUNT
Prints `ready`, then after COUNT reports one JSON object with their number and its own processor
time.
"""

import json
import sys
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from wherry_protocol.topics import Topics


def main() -> None:
    port, password, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    received = 0
    began_s = 0.0

    def on_connect(client: paho.Client, *_: Any) -> None:
        client.subscribe([(topic, 1) for topic in Topics("acme").from_devices])

    def on_subscribe(*_: Any) -> None:
        print("ready", flush=True)

    def on_message(client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        nonlocal received, began_s
        began_s = began_s or time.process_time()
        received += 1
        client.ack(message.mid, message.qos)
        if received == count:
            client.disconnect()

    client = paho.Client(CallbackAPIVersion.VERSION2, "floor", manual_ack=True)
    client.username_pw_set("acme/controller", password)
    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.connect("127.0.0.1", port)
    client.loop_forever()
    processor_s = time.process_time() - began_s
    print(json.dumps({"reports": received, "processor_s": processor_s}), flush=True)


if __name__ == "__main__":
    main()
