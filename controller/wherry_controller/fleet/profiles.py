"""Hardware classes as operators change them."""

from wherry_protocol.hardware import HardwareClass

from wherry_controller.fleet import desires
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import classes, devices


def put_class(org: Organization, profile: HardwareClass, who: str, now_s: float) -> None:
    """Add or change a class and tell its units."""
    is_new = classes.find(org.db, profile.name) is None
    classes.put(org.db, profile, now_s)
    org.record(now_s, who, "class.add" if is_new else "class.change", profile.name)
    for unit in devices.units(org.db):
        if unit.hardware_class == profile.name and unit.issued_s is not None:
            desires.issue(org, unit, now_s)
