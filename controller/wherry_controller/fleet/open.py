"""Open an organization from its data directory."""

import os
from collections.abc import Callable

from wherry_protocol import trust

from wherry_controller import keyring, settings, store
from wherry_controller.fleet.organization import Organization
from wherry_controller.layout import DataDir
from wherry_controller.settings import Settings
from wherry_controller.store import meta
from wherry_controller.vault import Vault


def open_organization(
    data: DataDir, random: Callable[[int], bytes] = os.urandom
) -> tuple[Organization, Settings]:
    """The organization, its database open for writing, its root chain verified.

    Raises NotFoundError, TrustError, StateError: whatever keeps `wherry serve` from starting.
    """
    found = settings.load(data.settings)
    ring = keyring.load(data)
    db = store.open_writer(data.database)
    roots = ((data.roots / "1.cose").read_bytes(), *meta.newer_roots(db))
    chain = trust.start(found.organization, roots)  # one that has ended takes its successor here
    vault = Vault(data.vault, ring.storage, random)
    org = Organization(
        found.organization, db, vault, ring, chain, found.fleet, random, found.registry,
        found.routes, found.alerts, data.root, policies=found.environments,
    )  # fmt: skip
    return org, found
