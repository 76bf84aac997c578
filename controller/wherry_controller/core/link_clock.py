"""Silence is measured on a clock of its own: a controller that hears nobody blames nobody."""

from dataclasses import dataclass


@dataclass(slots=True)
class LinkClock:
    """Seconds during which the controller's own link was up."""

    elapsed_s: float = 0.0
    up_since_s: float | None = None

    def read(self, now_s: float) -> float:
        """The clock at `now_s`; it stands still while the link is down."""
        running = 0.0 if self.up_since_s is None else max(0.0, now_s - self.up_since_s)
        return self.elapsed_s + running

    def change(self, is_up: bool, now_s: float) -> None:
        """The link came up or went down; saying it twice changes nothing."""
        if is_up and self.up_since_s is None:
            self.up_since_s = now_s
        elif not is_up and self.up_since_s is not None:
            self.elapsed_s = self.read(now_s)
            self.up_since_s = None
