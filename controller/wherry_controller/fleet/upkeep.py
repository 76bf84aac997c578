"""What time alone brings: desired documents are renewed before they expire, old data goes."""

from wherry_controller.fleet import desires, retaining
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import (
    alerts,
    deliveries,
    devices,
    events,
    meta,
    performance,
    questions,
    rollouts,
)

ANSWERS_KEEP_S = 3600.0
REFRESHED_PER_TICK = 50  # spreads the renewal of a fleet that was assigned at once


def refresh(org: Organization, now_s: float) -> None:
    """Renew documents at half their validity: same assignments, next revision."""
    before_s = now_s - org.settings.desired_valid_s / 2
    for unit in devices.units_to_refresh(org.db, before_s, REFRESHED_PER_TICK):
        desires.issue(org, unit, now_s)


def prune(org: Organization) -> None:
    """Bound raw reports, events, windows, spool positions, and versions where that is wanted."""
    settings = org.settings
    retaining.sweep(org)  # before anything else leaves: see its rule 2
    newest_s = float(meta.get(org.db, "time.told_s", "0"))
    performance.prune(
        org.db,
        reports_keep=settings.reports_keep,
        windows_before_s=newest_s - settings.windows_keep_s,
        boots_keep=settings.boots_keep,
    )
    events.prune(org.db, settings.events_keep)
    questions.prune(org.db, newest_s - ANSWERS_KEEP_S)
    rollouts.prune_notices(org.db, settings.events_keep)
    alerts.prune(org.db, settings.events_keep)
    deliveries.prune(org.db, settings.events_keep)
    retaining.run_scheduled(org, newest_s)
