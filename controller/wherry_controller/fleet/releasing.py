"""What a rollout must say of its version before it is made, and what is kept of that.

The part `release` of a rollout is written once: bump, notes, who acknowledged them, and the units
that could not run the version when the rollout was made.
"""

import json
from typing import Any

from sqlite_utils import Database

from wherry_controller.core.registry.notes import bump_for, check_notes
from wherry_controller.core.rollouts import Rollout
from wherry_controller.fleet import desires, fitting
from wherry_controller.fleet.organization import Organization
from wherry_controller.store import registry
from wherry_controller.store import rollouts as kept

PART = "release"


def terms(db: Database, rollout: Rollout) -> dict[str, Any]:
    """What is to be known of the version by whoever makes this rollout."""
    bundle = registry.bundle(db, rollout.digest)
    serving, unfit = set(), {}
    for fit in fitting.of_units(db, bundle, rollout.members):
        if fit.serving is not None:
            serving.add(fit.serving)
        if fit.misfits:
            unfit[fit.unit.id] = "; ".join(misfit.text for misfit in fit.misfits)
    return {
        "bump": bump_for(serving, bundle.version).name.lower(),
        "from": sorted(serving),
        "notes": desires.manifest_of(bundle.manifest).release_notes,
        "unfit": unfit,
    }


def keep(org: Organization, rollout: Rollout, who: str, is_acknowledged: bool) -> dict[str, Any]:
    """Check the notes and keep the terms with the rollout. Raises StateError."""
    bundle = registry.bundle(org.db, rollout.digest)
    found = terms(org.db, rollout)
    check_notes(
        desires.manifest_of(bundle.manifest),
        bump_for(found["from"], bundle.version),
        is_acknowledged=is_acknowledged,
        needs_notes=org.registry.needs_notes,
    )
    found["acknowledged_by"] = who if is_acknowledged else None
    kept.put_parts(org.db, rollout.rollout_id, {PART: json.dumps(found)})
    return found
