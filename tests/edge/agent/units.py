"""A device with a channel of its own on loopback: publish to it, let it pull, look at its slots."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from edge.agent.clock import utc_now
from edge.agent.config import Config, Health, Limits
from edge.agent.fetch import Fetcher
from edge.agent.health import Standing, confirm, standing, started
from edge.agent.selftest import self_test
from edge.agent.state import State, load
from edge.agent.update import Outcome, update
from edge.disk import RealDisk
from edge.verify import verify
from tests.edge.agent import bundles, channels
from tests.edge.agent.bundles import Made
from tests.edge.agent.channels import Channel, Site

_MEMORY = "/dev/shm"  # noqa: S108
HEALTH = Health(confirm_seconds=0, confirm_answers=1, max_boots=2)
LIMITS = Limits(slow_bytes_per_second=0, free_bytes=0)
"""Of a device that is in no hurry: what is slow here is the machine that tests."""


class Unit:
    """A device and its channel.

    Attributes:
        home: Folder of everything.
        channel: Its channel.
        site: Who serves it.
        config: The device's.
    """

    def __init__(self, home: Path, site: Site, channel: Channel) -> None:
        self.home, self.site, self.channel = home, site, channel
        self.config: Config = channels.device(home, site, channel, health=HEALTH, limits=LIMITS)

    def release(self, encoder: int = 1, classifier: int = 1, **fields) -> Made:
        """A release that is published to the device's track."""
        made = self.made(encoder, classifier, **fields)
        self.channel.publish(made)
        return made

    def made(self, encoder: int = 1, classifier: int = 1, **fields) -> Made:
        """A release that nobody has published."""
        count = len(list(self.home.glob("bundle-*")))
        return bundles.make(self.home / f"bundle-{count}", encoder, classifier, **fields)

    def configure(self, **changes) -> None:
        """Other values of the configuration."""
        self.config = replace(self.config, **changes)

    def pull(self, disk=None, test=self_test, system=utc_now) -> Outcome:
        """One update."""
        with Fetcher(self.config.url, self.config.limits) as fetcher:
            return update(self.config, disk or RealDisk(), fetcher, test, system)

    def start(self) -> Standing:
        """The service starts."""
        return started(self.config, RealDisk())

    def confirm(self) -> Standing:
        """What runs is believed."""
        return confirm(self.config, RealDisk())

    def settle(self, encoder: int = 1, classifier: int = 1) -> Made:
        """A release that is published, pulled and confirmed."""
        made = self.release(encoder, classifier)
        assert self.pull().step == "installed"
        assert not self.confirm().on_trial
        return made

    @property
    def state(self) -> State:
        """What state.json holds."""
        found, damage = load(self.config.state)
        assert found is not None
        assert damage is None
        return found

    @property
    def runs(self) -> str | None:
        """Digest of the release that runs, from files that were all hashed again."""
        slot = standing(self.config).slot
        return None if slot is None else str(verify(slot)["release"])


def pull(config: Config, ready: Connection) -> None:
    """One update, for a process of its own; it tells when it begins."""
    ready.send("begins")
    with Fetcher(config.url, config.limits) as fetcher:
        update(config, RealDisk(), fetcher, self_test)


@contextmanager
def unit(home: Path | None = None) -> Iterator[Unit]:
    """A device and a channel that serves nothing yet.

    Args:
        home: Folder of everything; without one it is in memory, where a sync costs nothing.
    """
    with ExitStack() as stack:
        if home is None:
            memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
            home = Path(stack.enter_context(TemporaryDirectory(dir=memory)))
        channel = Channel(home / "public")
        site = stack.enter_context(channels.serve(channel.public))
        yield Unit(home, site, channel)
