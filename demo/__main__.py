"""`make demo`: set up, sail the five voyages, tell, clean up; status 1 if one went otherwise."""

import argparse
import os
import platform
import signal
import sys
import time

from demo import summary
from demo.harbour import Harbour, fresh_folder
from demo.processes import DemoError, Processes
from demo.voyages import VOYAGES, Voyage, sail

NOTES = {
    "1.0.0": "first model",
    "1.1.0": "also reads digits that sit one pixel off",
    "1.1.1": "trained again",
    "1.2.0": "a larger network that answers better",
}


def say(text: str) -> None:
    print(text, flush=True)


def prepare(harbour: Harbour) -> None:
    """Everything before the first voyage."""
    say("starting broker and controller")
    harbour.found()
    say("enrolling 12 devices and a gateway with a microcontroller")
    harbour.enroll()
    for version, notes in NOTES.items():
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


def run(keep: bool) -> int:
    folder = fresh_folder()
    harbour = Harbour(folder, Processes(folder))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    voyages: list[Voyage] = []
    try:
        prepare(harbour)
        for name, wanted, voyage in VOYAGES:
            say(f"voyage: {name}: {wanted}")
            voyages.append(sail(harbour, name, wanted, voyage))
            say(f"  {voyages[-1].happened} ({voyages[-1].seconds:.0f} s)")
        time.sleep(1.1)  # the consumer writes once a second
        told = summary.report(voyages, harbour.consumed(), machine())
        summary.show(told, folder / "report.json")
        say(f"{time.monotonic() - began:.0f} s in all")
        if keep:
            linger(harbour)
    except DemoError as error:
        say(f"the demo cannot go on: {error}")
        say(f"logs are in {folder}")
        return 1
    finally:
        harbour.processes.end()
    return 0 if told["went_well"] else 1


def linger(harbour: Harbour) -> None:
    """Leave everything running until Ctrl-C."""
    say(f"still running: wherry --data {harbour.data} status; Ctrl-C ends it")
    try:
        signal.pause()
    except KeyboardInterrupt:
        say("ending")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    keep = parser.parse_args().keep or os.environ.get("KEEP", "") not in ("", "0")
    return run(keep)


if __name__ == "__main__":
    raise SystemExit(main())
