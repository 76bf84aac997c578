"""Versions as the API shows them: where each stands, and what happened to it."""

from typing import Any

from sqlite_utils import Database
from wherry_protocol.version import Version

from wherry_controller.http.views import bundle, plain
from wherry_controller.store import registry, versions


def stages(db: Database, model: str | None) -> list[dict[str, Any]]:
    """Every version in numeric order."""
    counts: dict[str, dict[bytes, int]] = {}
    found = []
    for row in registry.bundles(db, model):
        if row.model not in counts:
            counts[row.model] = versions.serving_counts(db, row.model)
        asked = versions.find_open_promotion(db, row.digest)
        more = {
            "serving_units": counts[row.model].get(row.digest, 0),
            "promotion": None if asked is None else plain(asked),
        }
        found.append(bundle(row) | more)
    return found


def history(db: Database, model: str, device: str | None, limit: int) -> list[dict[str, Any]]:
    """A model's versions with all that happened to them; or what one device served."""
    if device is not None:
        return [plain(row) for row in versions.served(db, model, device, limit)]
    counts = versions.serving_counts(db, model)
    kept = {row.digest for row in registry.bundles(db, model)}
    found: dict[bytes, dict[str, Any]] = {}
    for event in versions.events(db, model):
        row = found.setdefault(
            event.digest,
            {
                "version": event.version,
                "digest": event.digest.hex(),
                "is_kept": event.digest in kept,
                "serving_units": counts.get(event.digest, 0),
                "deployed_s": None,
                "deployed_by": None,
                "rollout": None,
                "events": [],
            },
        )
        if event.rollout and event.units:
            row |= {"deployed_s": event.at_s, "deployed_by": event.who, "rollout": event.rollout}
        row["stage"] = event.to_stage
        row["events"].append(plain(event))
    return sorted(found.values(), key=lambda row: Version.parse(row["version"]))
