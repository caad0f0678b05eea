"""Pulling for a microcontroller, from a real channel over HTTP, into a folder that is whole."""

import json
import os
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from edge.agent import state as states
from edge.agent.config import Limits
from edge.agent.fetch import Fetcher
from edge.agent.firmware import VERIFIER
from edge.agent.handover import RECORD
from edge.agent.mcu import pull
from edge.channel import firmware
from edge.disk import RealDisk
from edge.mcu.generate import generate
from edge.mcu.project import package
from firnline.contracts import firmware as contract
from firnline.digest import tree_digest, tree_manifest
from firnline.errors import DeliveryError
from tests.edge.agent import bundles, channels
from tests.edge.mcu.samples import bridges

TARGET = "mcu-cortex-m4"


def project(**proof):
    """The files of a microcontroller's device bundle: its C, and a proof that is bound to it."""
    program = replace(bridges(), name="small")
    made = generate(program, "dsp")
    files = package(program, made, "1.0.0")
    bound = {"artifact": "a" * 64, "identity": made.identity.sha256, **proof}
    record = json.dumps({"target": TARGET, "verdict": "accept", "bound_to": bound}).encode()
    return {f"target/{name}": text.encode() for name, text in files.items()} | {
        "proof.json": record
    }


class Fleet:
    """A channel, its server, and the host that pulls from it."""

    def __init__(self, tmp_path, site, channel):
        self.tmp_path, self.site, self.channel = tmp_path, site, channel
        self.out = tmp_path / "out"
        limits = Limits(slow_bytes_per_second=0, free_bytes=0)
        home = tmp_path / "host"
        self.config = channels.device(home, site, channel, target=TARGET, limits=limits)
        self.made = None

    def publish(self, encoder=1, signer=None, counter=1, content=None, target=TARGET, **proof):
        """Publish a release with its firmware manifest, and assign it."""
        folder = self.tmp_path / f"bundle-{encoder}"
        fields = {"run": [], "artifact_sha256": "a" * 64}
        made = bundles.make(folder, encoder, target=target, files=project(**proof), manifest=fields)
        signer = signer or self.channel.keys["mcu"][0]
        found = content or firmware.manifest(folder, [signer], counter)
        self.made = made
        self.put(self.path(), found)
        self.channel.publish(made)
        return found

    def path(self):
        """Of the firmware manifest."""
        return contract.firmware_path(self.made.ensemble, self.made.target, self.made.release)

    def put(self, path, content):
        """A target, as the role of its kind signs it."""
        self.channel.target(self.channel.bin(path), path, content)
        self.channel.commit(self.channel.bin(path))

    def pull(self, disk=None, **changes):
        config = replace(self.config, **changes)
        with Fetcher(config.url, config.limits) as fetcher:
            return pull(config, disk or RealDisk(), fetcher, self.out)

    def refused(self, code, **changes):
        """The pull is refused with this code, and nothing is left behind."""
        before = tree_digest(self.out) if self.out.exists() else None
        with pytest.raises(DeliveryError) as caught:
            self.pull(**changes)
        assert caught.value.code == code, caught.value
        assert (tree_digest(self.out) if self.out.exists() else None) == before
        assert not list(self.tmp_path.glob(".out*"))
        return caught.value


@pytest.fixture
def fleet(tmp_path):
    channel = channels.Channel(tmp_path / "public")
    with channels.serve(tmp_path / "public") as site:
        yield Fleet(tmp_path, site, channel)


def test_it_leaves_project_proof_manifest_and_verifier(fleet):
    content = fleet.publish()

    found = fleet.pull()

    release = {name.removeprefix("target/"): text for name, text in fleet.made.files.items()}
    there = tree_manifest(fleet.out)
    assert found.changed and found.release == fleet.made.release
    assert (fleet.out / "firmware-manifest.bin").read_bytes() == content
    assert (fleet.out / "src/small.c").read_bytes() == release["src/small.c"]
    assert (fleet.out / "proof.json").read_bytes() == release["proof.json"]
    assert f"{VERIFIER}/firnline_verify.c" in there
    assert not [name for name in there if name.startswith(("stages", "golden"))]
    assert json.loads((fleet.out / RECORD).read_bytes())["files"] == {
        name: value for name, value in there.items() if name != RECORD
    }
    assert found.firmware == contract.parse(content, "here")
    assert found.document()["firmware"]["counter"] == 1
    assert [contract.key_id(bytes.fromhex(key)) for key in found.keys] == [found.firmware.key]
    assert json.loads((fleet.out / RECORD).read_bytes())["keys"] == list(found.keys)


def test_a_second_pull_changes_nothing_and_fetches_no_part(fleet):
    fleet.publish()
    fleet.pull()
    before = tree_digest(fleet.out)
    fleet.site.log.clear()

    found = fleet.pull()

    assert not found.changed
    assert tree_digest(fleet.out) == before
    assert not [path for path, _, _ in fleet.site.log if path.startswith("parts/")]


def test_the_next_release_replaces_the_folder_whole(fleet):
    fleet.publish()
    fleet.pull()
    (fleet.tmp_path / ".out.1.new.partial").mkdir()
    fleet.publish(encoder=2, counter=2)

    found = fleet.pull()

    assert found.changed and found.firmware.counter == 2
    assert json.loads((fleet.out / RECORD).read_bytes())["release"] == fleet.made.release
    assert not list(fleet.tmp_path.glob(".out*"))


def test_an_assignment_of_old_is_not_taken_again(fleet):
    fleet.publish()
    first = dict(fleet.channel.assignments)
    fleet.publish(encoder=2, counter=2)
    fleet.pull()
    fleet.channel.assignments = first
    fleet.channel.publish(fleet.made, version=1)

    assert "rollback" in fleet.refused("U6").found
    assert states.load(fleet.config.state)[0].floor("stable/small").version == 2


def test_a_chip_with_an_agent_is_told_so(fleet):
    fleet.refused("U40", target="cpu-arm64")


def test_without_a_firmware_manifest_nothing_is_left(fleet):
    fleet.publish()
    path = contract.firmware_path("small", TARGET, fleet.made.release)
    del fleet.channel.targets(fleet.channel.bin(path)).targets[path]
    fleet.channel.commit(fleet.channel.bin(path))

    assert "no firmware manifest" in fleet.refused("U41").found


def test_a_neural_processor_has_none(fleet):
    target = "npu-ethos-u55-128"
    made = bundles.make(
        fleet.tmp_path / "npu", target=target, files=project(), manifest={"run": []}
    )
    fleet.channel.publish(made)

    found = fleet.pull(target=target)

    assert found.firmware is None
    assert not (fleet.out / "firmware-manifest.bin").exists()
    assert (fleet.out / "src/small.c").is_file()


@pytest.mark.parametrize(
    "content",
    [b"FIRN", b"\0" * 256, b"x" * 257, b"x" * 2049],
    ids=["short", "zeros", "long", "endless"],
)
def test_a_malformed_firmware_manifest(fleet, content):
    fleet.publish(content=content)

    assert fleet.refused("U13" if len(content) > 2048 else "U41")


def test_every_signature_of_several_is_checked(fleet):
    own, other = fleet.channel.keys["mcu"][0], CryptoSigner.generate_ed25519()
    role = fleet.channel.targets("targets").delegations
    role.keys[other.public_key.keyid] = other.public_key
    role.roles["mcu"].keyids.append(other.public_key.keyid)
    fleet.channel.commit("targets")
    fleet.publish()
    folder, path = fleet.tmp_path / "bundle-1", fleet.path()
    both = firmware.manifest(folder, [own, other], 2)
    thief = firmware.manifest(folder, [own, CryptoSigner.generate_ed25519()], 2)
    later = firmware.manifest(folder, [other], 3)

    for content, code in ((thief, "U42"), (both[:256] + later, "U41"), (both[:256] * 2, "U41")):
        fleet.put(path, content)
        fleet.refused(code)
    fleet.put(path, both)

    assert fleet.pull().firmware.counter == 2
    assert (fleet.out / "firmware-manifest.bin").read_bytes() == both


def test_a_firmware_manifest_of_another_key(fleet):
    fleet.publish(signer=fleet.channel.keys["npu"][0])

    assert "wrong key" in fleet.refused("U42").found


def test_a_firmware_manifest_that_was_signed_over(fleet):
    content = bytearray(fleet.publish())
    content[8] ^= 2
    path = contract.firmware_path("small", TARGET, fleet.made.release)
    fleet.channel.target(fleet.channel.bin(path), path, bytes(content))
    fleet.channel.commit(fleet.channel.bin(path))

    assert "wrong key" in fleet.refused("U42").found


def test_a_firmware_manifest_of_another_release(fleet):
    content = fleet.publish()
    fleet.publish(encoder=2, content=content)

    assert "mix-and-match: release" in fleet.refused("U42").found


@pytest.mark.parametrize("proof", [b"", b"[]", b'{"bound_to": 1}'], ids=["empty", "list", "number"])
def test_a_proof_that_is_none_agrees_with_nothing(fleet, proof):
    fleet.publish()
    fields = {"run": [], "artifact_sha256": "a" * 64}
    files = {**project(), "proof.json": proof}
    made = bundles.make(
        fleet.tmp_path / "none",
        target=TARGET,
        release=fleet.made.release,
        files=files,
        manifest=fields,
    )
    fleet.channel.publish(made)

    assert "mix-and-match: artifact" in fleet.refused("U42").found


def test_a_proof_of_other_constants(fleet):
    content = fleet.publish()
    path = fleet.tmp_path / "bundle-1"
    signed = contract.parse(content, "here")
    other = contract.render(replace(signed, identity="0" * 64))
    signature = bytes.fromhex(fleet.channel.keys["mcu"][0].sign(other).signature)
    fleet.publish(content=other + signature)

    assert path.is_dir()
    assert "mix-and-match: identity" in fleet.refused("U42").found


def seen(path):
    """What tells whether a file or folder was touched."""
    found = os.lstat(path)
    return found.st_mode, found.st_ino, found.st_mtime_ns


@pytest.mark.parametrize("kind", ["file", "folder", "link", "edited", "added", "link in it"])
def test_nobody_s_work_is_overwritten(fleet, kind):
    fleet.publish()
    if kind in ("edited", "added", "link in it"):
        fleet.pull()
    match kind:
        case "file":
            fleet.out.write_text("mine")
        case "folder":
            fleet.out.mkdir()
        case "link":
            fleet.out.symlink_to(fleet.tmp_path / "elsewhere")
        case "edited":
            (fleet.out / "src/small.c").write_text("mine")
        case "added":
            (fleet.out / "mine.c").write_text("mine")
        case "link in it":
            (fleet.out / "README.md").unlink()
            (fleet.out / "README.md").symlink_to("/dev/null")
    before = seen(fleet.out)

    with pytest.raises(DeliveryError) as caught:
        fleet.pull()

    assert caught.value.code == "U43"
    assert seen(fleet.out) == before


class Stopping(RealDisk):
    """A disk whose power goes after so many changes."""

    def __init__(self, left):
        self.left = left

    def write(self, path, content, mode=0o644):
        self._count()
        super().write(path, content, mode)

    def move(self, old, new):
        self._count()
        super().move(old, new)

    def _count(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_killed_anywhere_the_folder_is_whole_or_absent_and_comes_again(fleet):
    fleet.publish()
    fleet.pull()
    old = tree_digest(fleet.out)
    fleet.publish(encoder=2, counter=2)
    config = replace(fleet.config, state=fleet.tmp_path / "other")
    with Fetcher(config.url, config.limits) as fetcher:
        pull(config, RealDisk(), fetcher, fleet.tmp_path / "wanted")
    new = tree_digest(fleet.tmp_path / "wanted")
    seen = set()
    for changes in range(0, 400, 7):
        try:
            fleet.pull(Stopping(changes))
        except KeyboardInterrupt:
            seen.add(tree_digest(fleet.out) if fleet.out.exists() else "absent")
        else:
            break

    assert seen <= {old, new, "absent"}
    assert old in seen
    assert tree_digest(fleet.out) == new
