"""What everybody is told: the root chain, the fleet's time, the emergency stop."""

from wherry_protocol import trust
from wherry_protocol.errors import StateError, WherryError
from wherry_protocol.messages.limits import Reason
from wherry_protocol.messages.trust import FleetTime, ReportRequest, Stop, TrustRole

from wherry_controller.fleet.organization import SYSTEM, Organization
from wherry_controller.store import devices, meta, outbox


def publish_roots(org: Organization, now_s: float) -> None:
    """Queue every root of the chain; retained, each under its number."""
    for number, root in enumerate(org.trust.roots, 1):
        outbox.queue(org.db, org.topics.root(number), root, outbox.Priority.TRUST, now_s)


def publish_time(org: Organization, now_s: float) -> None:
    """Tell the time when the interval has passed since the last telling."""
    last_s = float(meta.get(org.db, "time.told_s", "0"))
    if 0 <= now_s - last_s < org.settings.time_interval_s:
        return
    told = FleetTime(
        org=org.name, epoch=org.epoch, time_s=int(now_s), root_number=org.trust.root.number
    )
    outbox.queue(org.db, org.topics.time, org.direct(told), outbox.Priority.TRUST, now_s)
    meta.put(org.db, "time.told_s", repr(now_s))


def advance_root(org: Organization, root: bytes, who: str, now_s: float) -> None:
    """Take the next root in. Raises TrustError; StateError where it drops this director's key."""
    after = trust.advance(org.trust, root, int(now_s))
    director = after.role(TrustRole.DIRECTOR)
    if org.keyring.director.public not in director.keys:
        raise StateError(
            f"root {after.root.number} does not name this controller's director key; "
            "install the new director key first and start again"
        )
    before = org.trust.role(TrustRole.DIRECTOR)
    is_void = after.root.epoch != org.epoch or set(before.keys) != set(director.keys)
    org.trust = after
    meta.put(org.db, f"root.{after.root.number}", root.hex())
    publish_roots(org, now_s)
    meta.put(org.db, "time.told_s", "0")  # the next tick tells the new root's number
    if is_void:
        # What was signed in the old epoch or with the old keys is refused from here on, and a
        # device may have yet to hear it: each document is made again, some per tick.
        devices.make_all_due(org.db)
        if meta.get(org.db, "stop.sequence"):
            repeat_stop(org, now_s)
    org.record(now_s, who, "root.publish", str(after.root.number), epoch=after.root.epoch)


def is_stopped(org: Organization) -> bool:
    return meta.get(org.db, "stop.is_stopped") == "1"


def stop(org: Organization, is_stopped: bool, who: str, reason: str, now_s: float) -> Stop:
    """Halt (or let go on) every update of the fleet. Raises WherryError without a reason."""
    if not reason.strip():
        raise WherryError("a stop needs a reason; say why")
    message = Stop(
        org=org.name,
        epoch=org.epoch,
        sequence=int(meta.get(org.db, "stop.sequence", "0")) + 1,
        issued_s=int(now_s),
        is_stopped=is_stopped,
        reason=reason[: Reason.size_max],
    )
    meta.put(org.db, "stop.sequence", str(message.sequence))
    meta.put(org.db, "stop.is_stopped", "1" if is_stopped else "0")
    meta.put(org.db, "stop.who", who)
    meta.put(org.db, "stop.reason", reason)
    outbox.queue(org.db, org.topics.stop, org.direct(message), outbox.Priority.STOP, now_s)
    org.record(now_s, who, "stop" if is_stopped else "stop.release", org.name, reason,
               sequence=message.sequence)  # fmt: skip
    return message


def repeat_stop(org: Organization, now_s: float) -> None:
    """Sign the standing order again, under a new epoch."""
    who, reason = meta.get(org.db, "stop.who"), meta.get(org.db, "stop.reason")
    stop(org, is_stopped(org), who, reason, now_s)


def ask_for_reports(org: Organization, now_s: float, spread_s: int = 60) -> None:
    """Ask every device to report again: after a restore from a backup."""
    request = ReportRequest(
        org=org.name,
        epoch=org.epoch,
        issued_s=int(now_s),
        nonce=org.random(16),
        spread_s=spread_s,
    )
    payload = org.direct(request)
    priority = outbox.Priority.TRUST
    outbox.queue(org.db, org.topics.report, payload, priority, now_s, is_retained=False)
    org.record(now_s, SYSTEM, "reports.ask", org.name)
