"""Two slots, each one whole release: assembled beside them, checked, and only then moved in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.agent.config import Config
from edge.agent.parts import PartStore
from edge.agent.state import NAMES, Name, Slot, State
from edge.disk import PARTIAL, Disk
from edge.load import load
from edge.verify import MANIFEST, plain_files, read_manifest, verify
from firnline.digest import file_digest, manifest_digest
from firnline.errors import DeliveryError, FirnlineError, HandshakeError

FOLDER, NEXT, PARTS = "slots", "next", "parts"
_DAMAGE = frozenset({"D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8"})


@dataclass(frozen=True)
class Slots:
    """The slots of a device.

    Attributes:
        folder: Where they lie: `a`, `b`, and `next` while one is assembled.
        disk: What changes them.
        store: The parts that they are made of.
        lock: Published feature -> digest, where the device has a lock of its own.
    """

    folder: Path
    disk: Disk
    store: PartStore
    lock: Mapping[str, str] | None = None

    @property
    def next(self) -> Path:
        """Where a release is assembled and checked."""
        return self.folder / NEXT

    def path(self, name: Name) -> Path:
        """A slot's folder."""
        return self.folder / name

    def assemble(self, manifest: bytes, files: Mapping[str, str]) -> None:
        """Lay a release out in `next`, as further names of the parts it is made of.

        Args:
            manifest: Bytes of its bundle.json, which is written last.
            files: Name -> sha256 of the part, every one in the store.
        """
        self.disk.remove(self.next)
        for name, sha256 in files.items():
            self.disk.link(self.store.path(sha256), self.next / name)
        self.disk.write(self.next / MANIFEST, manifest)

    def check(self, folder: Path, manifest: str) -> None:
        """Hold a release to its signed manifest, to its stages' handshake and to the lock.

        Args:
            folder: A slot, or `next`.
            manifest: sha256 that its bundle.json must have; it binds every other file.

        Raises:
            HandshakeError: H0 to H8.
            DeliveryError: D1 to D9.
        """
        with _on_a_device(folder):
            expected = _expected(folder, manifest)
            try:
                load(folder, "device", lock=self.lock, expected=expected)
            except HandshakeError:
                verify(folder, expected)  # A worn file is told as such, not as another stage.
                raise

    def adopt(self, name: Name) -> None:
        """Move what was assembled into a slot, in place of what lies there."""
        self.disk.remove(self.path(name))
        self.disk.move(self.next, self.path(name))

    def clean(self, state: State) -> None:
        """Remove what a killed run left: a release half assembled, and slots that nobody names."""
        self.disk.remove(self.next)
        for name in NAMES:
            if name not in state.slots:
                self.disk.remove(self.path(name))
        for left in self.folder.parent.glob(f".*{PARTIAL}"):
            self.disk.remove(left)

    def sweep(self, state: State) -> int:
        """Remove every part that no slot needs.

        Returns:
            Bytes freed.
        """
        keep: set[str] = set()
        for name in state.slots:
            try:
                keep.update(read_manifest(self.path(name))["files"].values())
            except FirnlineError:
                return 0  # What it needs is not known, and its parts may be all that is left of it.
        return self.store.sweep(keep)

    def found(self) -> dict[Name, Slot]:
        """What is whole among what lies there, for want of a state; the one written last is first.

        Nothing says that it was in good health, nor that the channel signed it: it is on trial,
        and the next poll holds its manifest to the signed one.
        """
        whole: list[tuple[float, Name, Slot]] = []
        for name in NAMES:
            path = self.path(name) / MANIFEST
            try:
                manifest = file_digest(path)
                self.check(self.path(name), manifest)
                slot = Slot(str(read_manifest(self.path(name))["release"]), manifest)
                whole.append((path.stat().st_mtime, name, slot))
            except (OSError, KeyError, FirnlineError):
                continue
        return {name: slot for _, name, slot in sorted(whole, key=lambda item: -item[0])}


def hashed(folder: Path, manifest: str) -> None:
    """Read every file of a slot that passed its checks before, to see that it is what it was.

    Args:
        folder: The slot.
        manifest: sha256 that its bundle.json must have.

    Raises:
        DeliveryError: D1 to D8, it is not.
    """
    with _on_a_device(folder):
        verify(folder, _expected(folder, manifest))


def measured(folder: Path, manifest: str) -> None:
    """The cheap part of `hashed`: the manifest, and that each file is there and has its length.

    Args:
        folder: The slot.
        manifest: sha256 that its bundle.json must have.

    Raises:
        DeliveryError: D1 to D8, it is not so.
    """
    with _on_a_device(folder):
        lengths = read_manifest(folder)["bytes"]
        if file_digest(folder / MANIFEST) != manifest:
            raise _damaged("D8", f"a {MANIFEST} that is not the signed one", folder)
        found = {name: size for name, size in plain_files(folder).items() if name != MANIFEST}
        unlike = sorted(name for name, _ in found.items() ^ lengths.items())
        if unlike:
            told = ", ".join(dict.fromkeys(unlike))
            raise _damaged("D2", f"missing, spare or not as long as named: {told}", folder)


@contextmanager
def _on_a_device(folder: Path) -> Iterator[None]:
    """Name damage as whoever has the device can mend it."""
    try:
        yield
    except DeliveryError as error:
        if error.code not in _DAMAGE:
            raise
        raise _damaged(error.code, error.found, error.where) from error
    except OSError as error:
        told = f"a file that cannot be read: {error.strerror}"
        raise _damaged("D2", told, error.filename or folder) from error


def _damaged(code: str, found: str, where: Path | str) -> DeliveryError:
    return DeliveryError(
        code,
        found=found,
        where=str(where),
        mend="`firnline-agent pull` brings it again; where that is refused, the release is to be "
        "published again, and where it comes back, look at the device's flash",
    )


def _expected(folder: Path, manifest: str) -> str:
    """Digest of the bundle whose bundle.json has the signed digest."""
    return manifest_digest({**read_manifest(folder)["files"], MANIFEST: manifest})


def slots_of(config: Config, disk: Disk) -> Slots:
    """The slots of a configured device.

    Raises:
        DeliveryError: U30, its features lock cannot be read.
    """
    store = PartStore(config.state / PARTS, disk, config.limits.free_bytes)
    lock = None if config.features_lock is None else _lock(config.features_lock)
    return Slots(config.state / FOLDER, disk, store, lock)


def _lock(path: Path) -> dict[str, str]:
    """Published feature -> digest of a features.lock: the first two words of each line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = [line.split(" ", 2)[:2] for line in lines if line and not line.startswith("#")]
        return {reference: digest for reference, digest in pairs}
    except (OSError, ValueError) as error:
        raise DeliveryError(
            "U30",
            found=f"no features lock that can be read: {error}",
            where=f"{path}, features_lock of the configuration",
            mend="give the features.lock of the fleet, or leave the key out",
        ) from error
