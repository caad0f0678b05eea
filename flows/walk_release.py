"""From an answer to the bundle that gave it: who assigned it, what was published, what it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.verify import MANIFEST
from firnline import wiring
from firnline.contracts.places import TRACKS, manifest_path
from firnline.digest import bytes_digest, short
from firnline.errors import DeliveryError, FirnlineError
from firnline.workload import names
from flows.walk_links import Seen

if TYPE_CHECKING:
    from edge.channel.state import State
    from firnline.rollout.assignment import Pin


@dataclass(frozen=True)
class Bundle:
    """A release as it was exported.

    Attributes:
        folder: Where it lies.
        manifest: What its bundle.json holds, once every file was hashed and the stages' digests
            were computed from their graphs.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The ensemble."""
        return str(self.manifest["name"])


def exported(release: str) -> tuple[Seen, Bundle]:
    """The bundle of a release, whole, its stages recomputed from their graphs.

    Raises:
        DeliveryError: W4 no export here has that digest, D1 to D8 it is not whole.
        HandshakeError: H0 to H8, its stages do not belong together or to this lock.
    """
    from edge.load import load

    folder = _folder(release)
    loaded = load(folder, "server", lock=wiring.lock().digests(), expected=release)
    stages = {stage.name: str(stage.digest) for stage in loaded.facts.stages}
    told = ", ".join(f"{name}#{short(found)}" for name, found in stages.items())
    seen = Seen(
        f"{loaded.manifest['name']}: {len(loaded.manifest['files'])} files, and {told} from "
        "their graphs",
        {"release": release, **stages},
    )
    return seen, Bundle(folder, loaded.manifest)


def assigned(state: "State", ensemble: str, release: str, device: str) -> tuple[Seen, "Pins"]:
    """The assignments that gave a release to a device, and what they pin.

    Args:
        state: The channel, verified as a client would.
        ensemble: The ensemble.
        release: Digest of the bundle.
        device: The device's name.

    Returns:
        Target -> its manifest, as the newest of these assignments pins it.

    Raises:
        DeliveryError: W3, no assignment that the channel still vouches for gave it to the device.
    """
    lines: list[str] = []
    digests: dict[str, str] = {}
    pins: Pins = {}
    for track in TRACKS:
        for sha256, assignment in state.history(track, ensemble):
            if assignment.release_for(device) == release:
                name = f"{track}, version {assignment.version}"
                lines.append(f"{name}: {100 * assignment.share_of(release):g} % of the devices")
                digests[name] = sha256
                pins = pins or dict(assignment.pins[release])
    if not lines:
        raise DeliveryError(
            "W3",
            found=f"no assignment gives release {release[:12]} to device {device}",
            where=f"the channel's history of {ensemble}",
            mend="see who installed it there; a device of this channel gets what is assigned alone",
        )
    return Seen(f"given to {device} by {', '.join(digests)}", digests, tuple(lines)), pins


Pins = dict[str, "Pin"]


def published(
    state: "State", bundle: Bundle, release: str, pins: Pins, scratch: Path
) -> tuple[Seen, dict[str, Path]]:
    """Device bundles made anew from the bundle; each has the digest that both roles signed.

    Args:
        state: The channel, verified as a client would.
        bundle: What was exported.
        release: Its digest.
        pins: What `assigned` gave.
        scratch: An empty folder to make them in.

    Returns:
        Target -> the device bundle's folder.

    Raises:
        DeliveryError: W4, another manifest is signed than the bundle gives; D-codes, it cannot be
            made.
    """
    from edge.device_bundle import make

    found: dict[str, Path] = {}
    digests: dict[str, str] = {}
    for target, pin in pins.items():
        path = manifest_path(bundle.name, target, release)
        signed = state.target(path)
        out = scratch / target
        make(bundle.folder, target, out)
        made = bytes_digest((out / MANIFEST).read_bytes())
        told = {
            "the assignment pins": pin.sha256,
            "the kind's role signed": signed.hashes["sha256"] if signed else "nothing",
            "the bundle gives": made,
        }
        if len(set(told.values())) > 1:
            raise DeliveryError(
                "W4",
                found=", ".join(f"{who} {what[:12]}" for who, what in told.items()),
                where=path,
                mend="publish the release again; a swept or altered manifest cannot be walked",
            )
        found[target], digests[target] = out, made
    return Seen(f"assignment, kind's role and bundle agree on {', '.join(found)}", digests), found


def _folder(release: str) -> Path:
    """Where the bundle of a release lies: among the exports, or the live ones.

    Raises:
        DeliveryError: W4, there is none.
    """
    settings = wiring.settings()
    ensembles = names(settings.project)
    for ensemble in ensembles:
        found = wiring.artifacts().find(ensemble, "export", bundle=release)
        if found is not None:
            return found[0] / "bundle"
    for ensemble in ensembles:
        live = settings.state / "live" / ensemble
        if live.is_dir() and _is(live, release):
            return live
    raise DeliveryError(
        "W4",
        found=f"no bundle with the digest {release[:12]}",
        where=f"exports of {', '.join(ensembles)} in {settings.state}",
        mend="walk where the release was exported, or run it again: the same inputs give the "
        "same bytes",
    )


def _is(folder: Path, release: str) -> bool:
    from edge.verify import verify

    try:
        verify(folder, release)
    except FirnlineError:
        return False
    return True
