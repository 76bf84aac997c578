"""Presence: online or offline, with a number that only rises, so that an old will is ignored."""

from wherry_protocol.messages.observed import Presence
from wherry_protocol.sealed import seal_mac

from wherry_agent.core.state import Identity


def presence(identity: Identity, connection_number: int, is_online: bool) -> bytes:
    """The MACed message for `d/<connection>/presence`."""
    message = Presence(
        org=identity.org,
        connection=identity.connection,
        connection_number=connection_number,
        is_online=is_online,
    )
    return seal_mac(message, identity.keys.mac_key)
