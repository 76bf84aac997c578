"""The owners' offline keys: root and release people, and the director key of the day."""

from dataclasses import dataclass, field
from random import Random

from wherry_protocol import cose
from wherry_protocol.codec import content_type, encode
from wherry_protocol.keys import SigningKey
from wherry_protocol.messages.trust import RoleKeys, Root, TrustRole

YEAR_S = 365 * 86_400


@dataclass
class Authority:
    """Keys made of a seed; `roots` is the chain as it was signed, whatever controllers know."""

    source: Random
    now_s: int
    org: str = "acme"
    epoch: int = 1
    roots: list[bytes] = field(default_factory=list)
    directors: list[SigningKey] = field(default_factory=list)  # of each root
    epochs: list[int] = field(default_factory=list)  # of each root

    def __post_init__(self) -> None:
        self.root_keys = [self._key() for _ in range(2)]
        self.release_keys = [self._key() for _ in range(2)]
        self.director = self._key()
        self.next_root()

    def _key(self) -> SigningKey:
        return SigningKey.from_seed(self.source.randbytes(32))

    def next_root(
        self, *, has_new_epoch: bool = False, has_new_director: bool = False, now_s: int = 0
    ) -> bytes:
        """The next root of the chain, signed by the threshold."""
        self.epoch += int(has_new_epoch)
        if has_new_director:
            self.director = self._key()
        issued_s = now_s or self.now_s
        root = Root(
            org=self.org,
            number=len(self.roots) + 1,
            issued_s=issued_s,
            expires_s=issued_s + YEAR_S,
            epoch=self.epoch,
            roles={
                TrustRole.ROOT: _held(2, self.root_keys),
                TrustRole.RELEASE: _held(1, self.release_keys),
                TrustRole.DIRECTOR: _held(1, [self.director]),
            },
        )
        signed = cose.sign(
            encode(root), content_type=content_type(Root), role=TrustRole.ROOT, keys=self.root_keys
        )
        self.roots.append(signed)
        self.directors.append(self.director)
        self.epochs.append(self.epoch)
        return signed


def _held(threshold: int, keys: list[SigningKey]) -> RoleKeys:
    return RoleKeys(threshold=threshold, keys=tuple(key.public for key in keys))
