"""What a device costs the wire: a cold start among a thousand targets, and a poll with no news.

Counted are the bytes of TCP both ways, headers of HTTP among them. A cold start is all metadata
from the root that the device was given down to the bin that names its release, and the assignment;
the manifest and its parts, which grow with the ensemble, are not.
"""

import socket
import threading
from contextlib import contextmanager

from edge.channel.commit import Change, commit
from edge.channel.promote import promote
from edge.channel.release import named
from edge.channel.repository import Repository
from firnline.contracts.places import manifest_path
from firnline.digest import digest
from tests.edge.channel import stands

RELEASES = 1000


def crowd(repo):
    """Name many releases of one target in the channel's bins; their files are not asked for."""
    manifests = {
        manifest_path(stands.ENSEMBLE, stands.TARGET, digest(number)): b"%d" % number
        for number in range(RELEASES)
    }
    with repo.locked() as state:
        commit(repo, state, Change(roles=named(state, manifests)))


@contextmanager
def counting(url):
    """A proxy that counts every byte both ways, headers and all."""
    host, _, port = url.removeprefix("http://").partition(":")
    seen = {"bytes": 0}
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source, sink):
        with source, sink:
            while data := source.recv(1 << 16):
                seen["bytes"] += len(data)
                sink.sendall(data)

    def accept():
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            far = socket.create_connection((host, int(port)))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=quietly, args=(pump, pair), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", seen
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def quietly(action, given):
    try:
        action(*given)
    except OSError:
        return


def test_cold_metadata_are_under_20_kB_and_an_idle_poll_under_1_kB(
    repo, releases, tmp_path
) -> None:
    crowd(repo)
    releases.put(repo, 1)
    with stands.serving(repo.public) as served, counting(served) as (url, seen):
        root = (repo.public / "metadata" / "1.root.json").read_bytes()
        device = stands.Device(url, root, tmp_path / "trust")
        device.learn()
        cold, seen["bytes"] = seen["bytes"], 0
        device.pull()
        seen["bytes"] = 0
        idle = device.poll()
        print(f"cold {cold} bytes, idle {seen['bytes']} bytes in {len(idle)} requests")
        assert cold < 20_000
        assert [path.rpartition("/")[2] for path in idle] == ["2.root.json", "timestamp.json"]
        assert seen["bytes"] <= 1000


def test_a_thousand_releases_change_what_is_signed_by_one_bin(repo, releases) -> None:
    crowd(repo)
    releases.put(repo, 1)
    before = {path.name for path in (repo.public / "metadata").iterdir()}
    releases.put(repo, 2)
    added = {path.name for path in (repo.public / "metadata").iterdir()} - before
    assert {name.partition(".")[2].partition("-")[0] for name in added} == {
        "beta.json", "cpu", "snapshot.json"
    }  # fmt: skip
    assert len(added) == 3
    assert promote(Repository(repo.folder), stands.ENSEMBLE, "stable").changed
