"""`firnline-agent`: what a device does with its channel."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge.agent import output
from edge.agent.config import DEFAULT, VARIABLE, Config, Health, Limits, load
from edge.agent.config import place as config_place
from edge.agent.lines import MOST_BYTES, lines, opened
from edge.disk import RealDisk
from firnline.contracts.places import kind
from firnline.errors import DeliveryError, FirnlineError

_EXITS = """\
exit codes:
  0  done
  1  an error, told with what was found, where, and the mend
  2  the command was not understood
  3  done, but look: `pull` brought nothing to run, `status` is not good,
     `run --rows` could not score every row
"""
GOOD, ERROR, LOOK = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; those of this process when not given.

    Returns:
        The exit code.
    """
    given = _parser().parse_args(arguments)
    output.prepare()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # It tells of each key that did not sign, where two of three are enough; what is refused is
    # told by an error.
    logging.getLogger("tuf").setLevel(logging.ERROR)
    try:
        return int(given.command(given))
    except BrokenPipeError:
        return ERROR
    except (FirnlineError, OSError, ImportError) as error:
        told = error if isinstance(error, FirnlineError) else output.named(error)
        with suppress(FirnlineError, OSError):  # It is the output itself that fails.
            output.failure(told, as_json=given.json)
        return ERROR
    except KeyboardInterrupt:
        return ERROR


def _pull(given: argparse.Namespace) -> int:
    from edge.agent.fetch import Fetcher
    from edge.agent.health import standing
    from edge.agent.isolated import isolated
    from edge.agent.last_poll import noted
    from edge.agent.update import update

    config = load(given.config)
    if given.out is not None:
        return _pull_folder(config, given)
    _runs_here(config)
    disk, test = RealDisk(), isolated(config.health.self_test_seconds)
    with Fetcher(config.url, config.limits) as fetcher, noted(config, disk) as note:
        outcome = update(config, disk, fetcher, test)
        note.outcome, note.error = outcome.step, outcome.refusal
        requests, received = fetcher.requests, fetcher.received
    if outcome.refusal is not None:
        raise outcome.refusal
    running = standing(config).release
    found = {
        "step": outcome.step,
        "release": running,
        "parts_bytes": outcome.received,
        "requests": requests,
        "received_bytes": received,
    }
    told = {
        "kept": "nothing to do: what runs is what is assigned",
        "unassigned": "nothing is assigned to this device yet",
        "switched": "switched to the other slot, which holds what is assigned",
        "installed": f"installed, {outcome.received:,} bytes of parts",
    }
    release = running[:12] if running else "none"
    _say(given, found, f"{told.get(outcome.step, outcome.step)}\nrelease  {release}")
    return GOOD if running else LOOK


def _runs_here(config: Config) -> None:
    if kind(config.target) != "cpu":
        raise DeliveryError(
            "U40",
            found=f"target {config.target}, which no host runs",
            where="the agent's configuration, target",
            mend="`firnline-agent pull --out FOLDER` leaves what goes to the chip",
        )


def _pull_folder(config: Config, given: argparse.Namespace) -> int:
    from edge.agent.fetch import Fetcher
    from edge.agent.last_poll import noted
    from edge.agent.mcu import pull

    disk = RealDisk()
    with Fetcher(config.url, config.limits) as fetcher, noted(config, disk) as note:
        found = pull(config, disk, fetcher, given.out)
        note.outcome = "pulled"
    told = "pulled" if found.changed else "nothing to do: it lies there already"
    _say(given, found.document(), f"{told}\nrelease  {found.release[:12]}\nfolder   {found.folder}")
    return GOOD


def _verify(given: argparse.Namespace) -> int:
    from edge.agent.isolated import isolated
    from edge.agent.slots import slots_of
    from edge.agent.state import State
    from edge.agent.state import load as load_state
    from edge.load import load as load_bundle

    checked: list[tuple[str, Path]] = []
    seconds = Health().self_test_seconds
    if given.bundle is not None:
        load_bundle(given.bundle, "device")
        checked.append(("bundle", given.bundle))
    else:
        config = load(given.config)
        seconds = config.health.self_test_seconds
        slots = slots_of(config, RealDisk())
        found, damage = load_state(config.state)
        if found is None and damage is not None:
            raise damage
        state = found or State()
        for name, slot in state.slots.items():
            slots.check(slots.path(name), slot.manifest)
            checked.append(
                (f"slot {name}{', active' if name == state.active else ''}", slots.path(name))
            )
        if not checked:
            from edge.agent.scoring import nothing_installed

            raise nothing_installed()
    test = isolated(seconds)
    verdicts = [(name, path, test(path)) for name, path in checked]
    document = [
        {"what": name, "path": str(path), "self_test": verdict.kind, "windows": verdict.windows,
         "difference": verdict.difference}
        for name, path, verdict in verdicts
    ]  # fmt: skip
    lines = [
        f"{name}: whole; {verdict.windows} golden windows {verdict.kind}"
        for name, _, verdict in verdicts
    ]
    _say(given, {"verified": document}, "\n".join(lines))
    return GOOD


def _run(given: argparse.Namespace) -> int:
    config = load(given.config)
    _runs_here(config)
    if given.rows is None:
        from edge.agent.service import serve

        serve(config)
        return GOOD
    from edge.agent.once import score

    code = GOOD
    with opened(given.rows) as rows:
        for answer in score(config, RealDisk(), lines(rows, given.rows)):
            output.document(answer)
            code = LOOK if "error" in answer else code
    return code


def _status(given: argparse.Namespace) -> int:
    from edge.agent.status import status, text

    now = datetime.now(UTC)
    found = status(load(given.config), now)
    _say(given, found.document(), text(found, now))
    return GOOD if found.good else LOOK


def _confirm(given: argparse.Namespace) -> int:
    from edge.agent.health import confirm_by_hand

    found = confirm_by_hand(load(given.config), RealDisk(), given.release)
    _say(given, {"release": found.release}, f"confirmed release {(found.release or '')[:12]}")
    return GOOD


def _rollback(given: argparse.Namespace) -> int:
    from edge.agent.health import rollback

    found = rollback(load(given.config), RealDisk(), given.reason)
    _say(given, {"release": found.release}, f"back to release {(found.release or '')[:12]}")
    return GOOD


def _init(given: argparse.Namespace) -> int:
    from edge.agent.provision import Place, begins, first_root, provision, vouched

    place = Place(
        given.url,
        given.ensemble,
        given.track,
        given.target,
        given.device,
        given.state,
        given.socket,
    )
    if given.root is not None:
        with opened(str(given.root), "U30") as file:
            root = file.read(MOST_BYTES)
    else:
        root = first_root(given.url, Limits())
    where = str(given.root or given.url)
    if given.root_sha256 is not None:
        root = vouched(root, given.root_sha256, where)
    elif given.root is None:
        root = vouched(root, _asked(), where)
    path = config_place(given.config)
    config = provision(place, begins(root, where), path, RealDisk())
    found = {"config": str(path), "device": config.device, "state": str(config.state)}
    named = "" if given.config is None else f" --config {shlex.quote(str(given.config))}"
    out = "" if kind(config.target) == "cpu" else " --out FOLDER"
    following = f"next    firnline-agent pull{named}{out}"
    _say(given, found, f"wrote {path}\ndevice  {config.device}\n{following}")
    return GOOD


def _asked() -> str:
    """The digest of the root of trust, from whoever sits before the device."""
    if not sys.stdin.isatty():
        return ""
    # Not `input`, which asks on the standard output, and knows no end of it.
    print("sha256 of root.json, as the channel's owner gave it: ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline()


def _say(given: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    output.document(document) if given.json else output.text(text)


def _version() -> str:
    try:
        return version("firnline-agent")
    except PackageNotFoundError:
        return "of a source tree"


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config", type=Path, help=f"agent.toml; else what {VARIABLE} names, else {DEFAULT}"
    )
    common.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser = argparse.ArgumentParser(
        "firnline-agent",
        description="Pulls what a channel assigns to this device, and runs it.",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, told: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[common], help=told, description=told)
        made.set_defaults(command=run)
        return made

    pull = command("pull", _pull, "Poll once: verify, fetch, check, self-test, switch.")
    pull.add_argument("--out", type=Path, help="for a target that this host does not run: a folder")
    verify = command("verify", _verify, "Check every slot again, and run its golden windows.")
    verify.add_argument(
        "bundle", nargs="?", type=Path, help="a device bundle, instead of the slots"
    )
    run = command("run", _run, "Run the service, or score rows of a file once.")
    run.add_argument("--rows", metavar="FILE", help="rows as JSON lines, - for standard input")
    command("status", _status, "What runs, since when, and what is wrong.")
    confirm = command("confirm", _confirm, "Believe the release on trial: it was seen to run well.")
    confirm.add_argument("--release", default="", help="the one that was seen; another is refused")
    rollback = command("rollback", _rollback, "Go back to the release in the other slot.")
    rollback.add_argument("--reason", default="by hand", help="kept with the refusal")
    init = command("init", _init, "Write a device's configuration, and its root of trust.")
    for name, told in (
        ("url", "address of the channel"),
        ("ensemble", "the ensemble it runs"),
        ("track", "canary, beta or stable"),
        ("target", "what the device is, such as cpu-arm64"),
    ):
        init.add_argument(f"--{name}", required=True, help=told)
    init.add_argument("--device", default="", help="its name; else one made of the machine's id")
    init.add_argument(
        "--root",
        type=Path,
        help="the root.json that you were given; without it the channel's own first one is fetched",
    )
    init.add_argument(
        "--root-sha256",
        metavar="HEX",
        help="digest that root.json must have; without --root it is needed, and asked for",
    )
    init.add_argument("--state", type=Path, help="folder of slots and parts")
    init.add_argument("--socket", type=Path, help="where the service answers rows")
    return parser
