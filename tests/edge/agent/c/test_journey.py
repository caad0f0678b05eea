"""From the publisher's key to the bootloader's counter: a release, the next one, and a rollback."""

import json
from dataclasses import replace

from edge.agent.config import Config
from edge.agent.fetch import Fetcher
from edge.agent.mcu import pull
from edge.channel.init import init
from edge.channel.publish import delivered, put
from edge.channel.repository import Repository
from edge.channel.rollback import rollback
from edge.disk import RealDisk
from edge.mcu.generate import generate
from edge.mcu.project import package
from firnline.contracts.firmware import NAME
from tests.edge.agent import bundles, channels
from tests.edge.agent.c.test_boot import booted, image, row
from tests.edge.mcu.samples import bridges

ENSEMBLE, TARGET = "refrigeration", "mcu-cortex-m4"


def passphrase(what):
    return f"the {what}"


def device_bundle(folder, encoder):
    """A release whose C is the model that the board runs."""
    program = replace(bridges(), name=ENSEMBLE)
    project = generate(program, "dsp")
    files = {f"target/{name}": text for name, text in package(program, project, "1.0.0").items()}
    bound = {"artifact": "a" * 64, "identity": project.identity.sha256}
    files["proof.json"] = json.dumps({"bound_to": bound})
    return bundles.make(
        folder,
        encoder,
        ensemble=ENSEMBLE,
        target=TARGET,
        files={name: text.encode() for name, text in files.items()},
        manifest={"run": [], "artifact_sha256": "a" * 64},
    )


def public_key(repo):
    """What is burnt into the bootloader: the key of the role mcu."""
    delegated = repo.state().targets.signed.delegations
    (keyid,) = delegated.roles["mcu"].keyids
    return bytes.fromhex(delegated.keys[keyid].keyval["public"])


def publish(repo, made):
    with repo.locked() as state:
        deliveries = {TARGET: delivered(made.folder)}
        put(repo, state, ENSEMBLE, made.release, deliveries, "beta", 1.0, "a test")


def test_a_rollback_reaches_a_board_that_refuses_what_is_older(tmp_path):
    made = init(tmp_path / "channel", tmp_path / "keys", secrets=passphrase, bits=1)
    repo = Repository(tmp_path / "channel", passphrase)
    first, second = (device_bundle(tmp_path / name, place) for place, name in enumerate("ab", 1))
    board, _ = image("cortex-m4", tmp_path / "board")
    key, counter, heard, manifests = public_key(repo), 0, [], []
    steps = (
        lambda: publish(repo, first),
        lambda: publish(repo, second),
        lambda: rollback(repo, ENSEMBLE, "beta", reason="a test"),
    )

    with channels.serve(repo.public) as site:
        config = Config(
            url=site.url,
            ensemble=ENSEMBLE,
            track="beta",
            target=TARGET,
            root=made.root,
            state=tmp_path / "state",
            device="unit-1",
        )
        for step in steps:
            step()
            with Fetcher(config.url, config.limits) as fetcher:
                pulled = pull(config, RealDisk(), fetcher, tmp_path / "out")
            manifests.append((pulled.folder / NAME).read_bytes())
            ((status, counter),) = booted(board, [row(manifests[-1], key=key, held=counter)])
            heard.append((pulled.release, status, counter))

    releases, statuses, counters = zip(*heard, strict=True)
    assert releases == (first.release, second.release, first.release)
    assert set(statuses) == {"ACCEPTED"}
    assert 0 < counters[0] < counters[1] < counters[2] == counter
    replayed = booted(board, [row(content, key=key, held=counter) for content in manifests])
    assert replayed == [("ROLLBACK", counter), ("ROLLBACK", counter), ("ACCEPTED", counter)]
