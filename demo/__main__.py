"""`make demo`: set up, sail the five voyages, tell, clean up; status 1 if one went otherwise."""

import argparse
import contextlib
import os
import platform
import signal
import sys
import time
from pathlib import Path

from demo import summary
from demo.harbour import BROKERS, FOLDER, Harbour, fresh_folder
from demo.processes import DemoError, Processes
from demo.voyages import VOYAGES, Voyage, sail

INTERRUPTED, TERMINATED = 130, 143  # 128 and the signal, as shells say it
NOTES = {  # one for each of the first voyages; the last one needs no new version
    "1.0.0": "first model",
    "1.1.0": "also reads digits that sit one pixel off",
    "1.1.1": "trained again",
    "1.2.0": "a larger network, partly in 16 bits, that answers better",
}


def say(text: str) -> None:
    print(text, flush=True)


def prepare(harbour: Harbour, voyage_count: int) -> None:
    """Everything before the first voyage; the versions that so many voyages need."""
    say("starting broker and controller")
    harbour.found()
    say("enrolling 12 devices and a gateway with a microcontroller")
    harbour.enroll()
    for version, notes in list(NOTES.items())[:voyage_count]:
        say(f"packaging, signing and pushing digits {version}")
        harbour.publish(version, notes)
    say("starting the devices and a telemetry consumer")
    harbour.start_consumer()
    harbour.start_devices()
    harbour.wherry("device", "configure", "--target", "all", "--performance-s", "1")


def machine() -> str:
    """The processor and how many of them we may use."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return f"{(names or [platform.machine()])[0]}, {os.cpu_count()} cores, {platform.system()}"


def tour(harbour: Harbour, count: int) -> bool:
    """Set up, sail the first `count` voyages, and tell; whether all went as they should."""
    began = time.monotonic()
    voyages: list[Voyage] = []
    prepare(harbour, count)
    for name, wanted, voyage in VOYAGES[:count]:
        say(f"voyage: {name}: {wanted}")
        voyages.append(sail(harbour, name, wanted, voyage))
        say(f"  {voyages[-1].happened} ({voyages[-1].seconds:.0f} s)")
    time.sleep(1.1)  # the consumer writes once a second
    told = summary.report(voyages, harbour.consumed(), machine())
    summary.show(told, harbour.folder / "report.json")
    say(f"{time.monotonic() - began:.0f} s in all")
    return bool(told["went_well"])


def run(asked: argparse.Namespace) -> int:
    folder = fresh_folder(asked.folder)
    harbour = Harbour(folder, Processes(folder), asked.broker)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    # A shell starts what it puts into the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        went_well = tour(harbour, asked.voyages)
        if asked.keep:
            linger(harbour)
        return 0 if went_well else 1
    except DemoError as error:
        say(f"the demo cannot go on: {error}")
        say(f"logs are in {folder}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # once is enough; now all is ended
            signal.signal(number, signal.SIG_IGN)
        harbour.processes.end()


def linger(harbour: Harbour) -> None:
    """Leave everything running until Ctrl-C."""
    say(f"still running: wherry --data {harbour.data} status; Ctrl-C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    say("ending")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    is_kept = os.environ.get("KEEP", "") not in ("", "0")
    parser.add_argument("--keep", action="store_true", default=is_kept,
                        help="leave everything running (or KEEP=1)")  # fmt: skip
    parser.add_argument("--voyages", type=int, default=len(VOYAGES), help="only the first so many")
    parser.add_argument("--broker", choices=BROKERS, default=BROKERS[0],
                        help="auto: mosquitto where it is installed, otherwise amqtt")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=FOLDER, help="emptied first")
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
