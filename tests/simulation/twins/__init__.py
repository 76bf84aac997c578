"""Parts of the programs that a voyage may play by a twin, so that it costs less.

Each module is one part: it says what is made up, and `in_place()` puts the twin where the real
part is and takes it away again. The same seed gives the same trace with and without; a test holds
that. Who plays with a twin names it in the output.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from tests.simulation.twins import codec, signatures

TWINS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "signatures": signatures.in_place,
    "codec": codec.in_place,
}


@contextmanager
def played_by_twins(names: Iterable[str]) -> Iterator[None]:
    """These parts are twins inside. Raises KeyError for a part that has none."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(TWINS[name]())
        yield


__all__ = ["TWINS", "played_by_twins"]
