"""`firnline channel` as people run it: from nothing, with keys that change and people asked."""

import json
import os
import pty
import pwd
import signal
import socket
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path
from select import select

import pytest
from typer.testing import CliRunner

from edge.channel.repository import Repository
from edge.pack import pack
from firnline import wiring
from firnline.adapters.lock_file import read_lock, shipped_lock_path
from firnline.adapters.offer_folder import OfferFolder
from firnline.cli.app import app
from firnline.contracts.firmware import parse
from firnline.contracts.offer import Offer
from firnline.digest import file_digest, tree_digest
from firnline.errors import FirnlineError
from tests.edge import small_bundles
from tests.edge.channel import stands
from tests.resources.project import COMMAND, Project

PASSPHRASE = "correct horse battery"  # noqa: S105
ENVIRONMENT = {"FIRNLINE_CHANNEL_PASSPHRASE": PASSPHRASE}


class Shell(Project):
    """A project whose commands run in this process, which is quick; as `firnline.cli.main` does."""

    def run(self, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("FIRNLINE_CHANNEL_PASSPHRASE", raising=False)
            patch.delenv("FIRNLINE_HOME")
            for name, value in {"COLUMNS": "200", **self.environment}.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            wiring.settings.cache_clear()
            done = CliRunner().invoke(app, arguments)
        wiring.settings.cache_clear()
        told = done.stderr
        if isinstance(done.exception, FirnlineError):
            told += str(done.exception)
        elif done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, told)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a channel."""
    found = Shell(tmp_path_factory.mktemp("project"), dict(ENVIRONMENT))
    made = found.run("channel", "init", "--bins", "1", "--days", "stable=30")
    assert made.returncode == 0, made.stderr
    root = channel(found) / "root.json"
    assert file_digest(root) in made.stdout and str(root) in made.stdout
    assert "machines of their own" in made.stderr
    return found


def channel(project):
    return project.folder / ".firnline" / "channel"


def keys(project):
    return project.folder / ".firnline" / "keys"


def ledger(project, subject):
    path = project.folder / ".firnline" / "ledger" / f"{subject}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def refused(project, code, *arguments):
    done = project.run("channel", *arguments)
    assert done.returncode == 1 and code in done.stderr, done.stderr + done.stdout
    assert PASSPHRASE not in done.stderr + done.stdout
    return done


def put(project, number, track="beta"):
    """Publish a tiny release past the command line."""
    made = stands.Releases(project.folder / "releases")
    repo = Repository(channel(project), lambda _: PASSPHRASE)
    return made.put(repo, number, track).release


@pytest.fixture(scope="module")
def bundle(project):
    """A bundle of three targets, one of which no proof accepts, as the project's last run."""
    line = next(iter(read_lock(shipped_lock_path())))
    folder = project.folder / "export" / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_bundles, "VIEW", {line.reference: line.digest})
        pack(folder, small_bundles.with_firmware(small_bundles.contents()))
    run = project.folder / ".firnline" / "runs" / "small.json"
    run.parent.mkdir()
    run.write_text(json.dumps({"bundle": {"path": str(folder), "digest": tree_digest(folder)}}))
    return folder


def test_a_bundle_is_published_and_its_word_is_kept(project, bundle):
    where = ("--bundle", str(bundle), "--track", "canary")
    told = refused(project, "V7", "publish", *where).stderr
    assert "--proved" in told and "--unproved TARGET=REASON" in told
    done = project.json("channel", "publish", *where, "--proved", "--by", "Ada", "--reason", "try")
    assert done["release"] == tree_digest(bundle) and done["changed"]
    assert set(done["targets"]) == {"cpu-x86_64", "mcu-cortex-m4"}
    (firmware,) = (channel(project) / "public/targets/mcu/small").rglob("*.bin")
    assert parse(firmware.read_bytes(), "here").release == done["release"]
    again = project.run("channel", "publish", *where, "--proved")
    assert again.returncode == 0 and "unchanged" in again.stdout
    (kept,) = ledger(project, "small")
    assert (kept["kind"], kept["reason"]) == ("publication", "Ada: to 100 % of canary; try")
    assert kept["inputs"]["bundle"] == done["release"]
    # Whom they name is theirs to say; whose account it was is not.
    who = f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
    assert (kept["numbers"]["approver"], kept["numbers"]["account"]) == ("Ada", who)


def test_the_last_run_s_bundle_is_published_by_name_and_its_offer_settled(project, bundle):
    refused(project, "E4", "publish", "refrigeration")
    offers, release = OfferFolder(project.folder / ".firnline" / "offers"), tree_digest(bundle)
    offers.offer(Offer("small", release, "beta", {"cpu-arm64": "not run"}))
    refused(project, "V7", "publish", "small")
    assert offers.waiting()
    offers.offer(Offer("small", "f" * 64, "beta"))
    assert "ffffffffffff was offered after it" in refused(project, "E98", "publish", "small").stderr
    offers.offer(Offer("small", release, "beta", {"cpu-arm64": "not run"}))
    excused = ("--unproved", "cpu-arm64=no such board here", "--by", "Ada")
    done = project.json("channel", "publish", "small", *excused)
    assert (done["release"], done["track"], done["changed"]) == (release, "beta", True)
    assert done["unproved"] == {"cpu-arm64": "no such board here"}
    assert not offers.waiting()
    settled = offers.get("small", release)
    assert (settled.verdict, settled.by) == ("published", "Ada")
    (bundle / "int8.onnx").write_bytes(b"another")
    refused(project, "D", "publish", "small")


def test_a_release_goes_on_and_back(project):
    first, second = put(project, 1), put(project, 2)
    onward = ("channel", "promote", "small", "--to", "stable")
    project.json(*onward, "--release", first)
    done = project.json(*onward, "--share", "10%", "--reason", "looks good")
    assert (done["release"], done["share"], done["before"]) == (second, 0.1, first)
    back = ("rollback", "small", "--track", "stable", "--reason", "it leaks")
    refused(project, "V34", *back)
    done = project.json("channel", *back, "--yes", "--by", "Ada")
    assert (done["release"], done["share"]) == (first, 1.0)
    kinds = [kept["kind"] for kept in ledger(project, "small")]
    assert kinds[-3:] == ["promotion", "promotion", "rollback"]
    assert ledger(project, "small")[-1]["numbers"]["approver"] == "Ada"
    shown = project.run("channel", "status").stdout
    assert f"{first[:12]}  ██████████ 100 %  it leaks" in shown
    assert "expired" not in shown and "cpu-x86_64" in shown
    refused(project, "V8", "promote", "small", "--to", "gamma")


def test_status_tells_who_signs_until_when(project):
    found = project.json("channel", "status", "--keys")
    roles = {role["name"]: role for role in found["roles"]}
    assert roles["stable"]["days"] == 29 and roles["timestamp"]["online"]
    assert (roles["root"]["threshold"], len(roles["root"]["keys"])) == (2, 3)
    assert all(key["usable"] for role in found["roles"] for key in role["keys"])
    wrong = Shell(project.folder, {"FIRNLINE_CHANNEL_PASSPHRASE": "another one"})
    shown = wrong.run("channel", "status", "--keys").stdout
    assert "0 of 3 (a wrong passphrase)" in shown


def test_an_online_key_changes_under_way(project):
    before = project.json("channel", "status")
    done = project.json("channel", "rotate-keys", "timestamp", "--yes", "--reason", "old")
    after = project.json("channel", "status")
    assert (len(done["added"]), len(done["dropped"]), done["staged"]) == (1, 1, [])
    assert after["root_version"] == before["root_version"] + 2
    kept = ledger(project, "channel")[-1]
    assert (kept["kind"], kept["verdict"]) == ("rotation", "in force")
    assert kept["inputs"] == {"added 0": done["added"][0], "dropped 0": done["dropped"][0]}
    refused(project, "V34", "rotate-keys", "timestamp")


def test_what_lies_on_one_machine_changes_in_one_rotation(project):
    before = project.json("channel", "status")
    named = f"snapshot=file:{keys(project) / 'online.pem'}"
    lost = [
        Path(key["uri"].removeprefix("file:"))
        for role in before["roles"]
        if role["online"]
        for key in role["keys"]
    ]
    for path in lost:
        path.unlink()
    refused(project, "V2", "rotate-keys", "timestamp", "--yes")
    arguments = ("rotate-keys", "snapshot", "timestamp", "cpu", "--key", named)
    done = project.json("channel", *arguments, "--yes", "--by", "Ada")
    after = project.json("channel", "status", "--keys")
    assert done["roles"] == ["snapshot", "timestamp", "cpu"] and not done["staged"]
    assert (len(done["added"]), len(done["dropped"])) == (3, 3)
    assert after["root_version"] == before["root_version"] + 2
    assert all(key["usable"] for role in after["roles"] for key in role["keys"])
    (snapshot,) = next(role for role in after["roles"] if role["name"] == "snapshot")["keys"]
    assert snapshot["uri"] == named.removeprefix("snapshot=")
    assert ledger(project, "channel")[-1]["reason"] == "Ada: keys of snapshot, timestamp, cpu"


def test_people_sign_on_machines_of_their_own(project, tmp_path):
    away = [tmp_path / f"root-{number}.pem" for number in (1, 2)]
    for path in away:
        (keys(project) / path.name).rename(path)
    watched = project.run("channel", "expire", "--within", "400")
    assert watched.returncode == 1 and "root needs people" in watched.stdout
    assert watched.stdout.count("needs people") == 1, "what can be renewed here was"
    staged = Path(project.json("channel", "stage", "root")["staged"])
    refused(project, "V4", "apply")
    (keys(project) / "root-3.pem").rename(tmp_path / "root-3.pem")
    for number, path in enumerate(away, 2):
        done = project.json("channel", "sign", str(staged), "--key", f"file:{path}")
        assert (done["role"], done["signatures"]) == ("root", number)
    applied = project.json("channel", "apply")
    assert applied["roots"] == [done["version"]] and not staged.exists()
    assert project.json("channel", "status")["root_version"] == done["version"]
    for path in tmp_path.glob("root-*.pem"):
        path.rename(keys(project) / path.name)
    assert project.run("channel", "expire").returncode == 0


def test_a_lost_channel_is_built_anew(project, tmp_path):
    release = put(project, 3)
    root, mirror = str(channel(project) / "root.json"), str(channel(project) / "public")
    where = ("channel", "restore", "--channel", str(tmp_path / "new"), "--root", root)
    done = project.json(*where, "--mirror", mirror)
    assert done["missing"] == [] and len(done["keys"]) == len(list(keys(project).glob("*.pem")))
    found = project.json("channel", "status", "--channel", str(tmp_path / "new"))
    assert release[:16] in {each["release"] for each in found["releases"]}
    refused(project, "V1", *where[1:], "--mirror", mirror)
    refused(project, "V35", *where[1:4], "--root", "none.json", "--mirror", mirror)
    roots = sorted((channel(project) / "public/metadata").glob("*.root.json"))
    alone = ("channel", "restore", "--channel", str(tmp_path / "alone"), "--above", "99")
    done = project.json(*alone, *(word for path in roots for word in ("--root", str(path))))
    assert (done["root_version"], done["releases"]) == (len(roots), 0)
    assert project.run(*alone[:-2], "--root", root).returncode == 2


def test_old_releases_are_swept(project):
    for number in (4, 5):
        release = put(project, number, "canary")
    refused(project, "V34", "sweep", "--keep", "1")
    done = project.json("channel", "sweep", "--keep", "1", "--yes")
    assert done["files"] > 0
    releases = {each["release"] for each in project.json("channel", "status")["releases"]}
    assert release[:16] in releases
    assert project.json("channel", "sweep", "--keep", "1", "--yes")["files"] == 0


def test_secrets_come_from_a_file_or_a_prompt(tmp_path):
    silent, secret = Shell(tmp_path), tmp_path / "secret"
    uri = f"file:{tmp_path / 'one.pem'}"
    refused(silent, "V3", "key", uri)
    secret.write_text(f"{PASSPHRASE}\n")
    refused(silent, "V33", "key", uri, "--passphrase-file", str(secret))
    secret.chmod(0o600)
    made = silent.json("channel", "key", uri, "--passphrase-file", str(secret))
    assert made["made"] and made["keytype"] == "ed25519"
    output, answer = asked(tmp_path, ["key", uri], [PASSPHRASE])
    assert answer == 0 and made["keyid"] in output and PASSPHRASE not in output
    output, answer = asked(tmp_path, ["key", f"file:{tmp_path}/two.pem"], [PASSPHRASE] * 2)
    assert answer == 0 and "made" in output
    secret.write_text("\n")
    refused(silent, "V33", "key", uri, "--passphrase-file", str(secret))


def asked(folder, arguments, answers):
    """A command at a terminal, and what is typed there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), "channel", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "200"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    output, left = "", list(answers)
    # The terminal is gone once the command has ended.
    with suppress(OSError):
        while select([ours], [], [], 20)[0]:
            output += os.read(ours, 1024).decode()
            # The space comes once what is typed is no longer shown.
            if left and output.endswith(": "):
                os.write(ours, f"{left.pop(0)}\n".encode())
    os.close(ours)
    return output, process.wait(20)


def test_it_is_served_until_it_is_told_to_end(project):
    process = project.start("channel", "serve", "--port", "0")
    address = process.stdout.readline().split(" at ")[1].strip()
    with urllib.request.urlopen(f"{address}/metadata/timestamp.json") as answer:
        served = answer.read()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert served == (channel(project) / "public/metadata/timestamp.json").read_bytes()
    refused(project, "V31", "serve", "--host", "0.0.0.0")  # noqa: S104


@pytest.mark.parametrize(
    "arguments",
    [
        ("publish",),
        ("publish", "small", "--bundle", "x"),
        ("publish", "small", "--proved", "--target", "cpu-x86_64"),
        ("publish", "small", "--unproved", "cpu-arm64"),
        ("promote", "small", "--to", "beta", "--share", "half"),
        ("init", "--days", "root=soon"),
        ("restore", "--root", "x", "--keys", "nowhere"),
        ("rotate-keys", "snapshot", "timestamp", "--key", "env:A"),
        ("rotate-keys", "snapshot", "--key", "timestamp=env:A"),
    ],
)
def test_a_wrong_command_line_is_told_with_status_2(tmp_path, arguments):
    assert Shell(tmp_path).run("channel", *arguments).returncode == 2
