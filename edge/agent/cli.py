"""`firnline-agent`: what a device does with its channel."""

import argparse
import json
import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from edge.agent.config import DEFAULT, VARIABLE, Config, Limits, load
from edge.agent.config import place as config_place
from edge.disk import RealDisk
from firnline.contracts.places import kind
from firnline.errors import DeliveryError, FirnlineError

_EXITS = """\
exit codes: 0 done; 1 an error, told with what was found, where, and the mend; 2 the command was
not understood; 3 done, but look: `pull` brought nothing to run, `status` is not good,
`run --rows` could not score every row
"""
_MOST_LINE_BYTES = 1 << 20
GOOD, ERROR, LOOK = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; those of this process when not given.

    Returns:
        The exit code.
    """
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # It tells of each key that did not sign, where two of three are enough; what is refused is
    # told by an error.
    logging.getLogger("tuf").setLevel(logging.ERROR)
    try:
        return int(given.command(given))
    except FirnlineError as error:
        return _told(error, given)
    except BrokenPipeError:
        # Who read the output has gone; what is left of it has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except OSError as error:
        return _told(_unusable(error), given)
    except KeyboardInterrupt:
        return ERROR


def _told(error: FirnlineError, given: argparse.Namespace) -> int:
    if given.json:
        _print(error.document())
    else:
        print(f"error [{error.code}] {error.found}", file=sys.stderr)
        print(f"  where  {error.where}\n  mend   {error.mend}", file=sys.stderr)
    return ERROR


def _unusable(error: OSError) -> DeliveryError:
    return DeliveryError(
        "U30",
        found=f"a file or folder that cannot be used: {error.strerror or error}",
        where=str(error.filename or "the agent's state"),
        mend="run it as the agent's own user, and see that the folder is there and writable",
    )


def _pull(given: argparse.Namespace) -> int:
    from edge.agent.fetch import Fetcher
    from edge.agent.health import standing
    from edge.agent.selftest import self_test
    from edge.agent.update import update

    config = load(given.config)
    if given.out is not None:
        return _pull_folder(config, given)
    _runs_here(config)
    with Fetcher(config.url, config.limits) as fetcher:
        outcome = update(config, RealDisk(), fetcher, self_test)
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
    from edge.agent.mcu import pull

    with Fetcher(config.url, config.limits) as fetcher:
        found = pull(config, RealDisk(), fetcher, given.out)
    told = "pulled" if found.changed else "nothing to do: it lies there already"
    _say(given, found.document(), f"{told}\nrelease  {found.release[:12]}\nfolder   {found.folder}")
    return GOOD


def _verify(given: argparse.Namespace) -> int:
    from edge.agent.selftest import compare
    from edge.agent.slots import slots_of
    from edge.agent.state import State
    from edge.agent.state import load as load_state
    from edge.load import load as load_bundle

    checked: list[tuple[str, Path]] = []
    if given.bundle is not None:
        load_bundle(given.bundle, "device")
        checked.append(("bundle", given.bundle))
    else:
        config = load(given.config)
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
    verdicts = [(name, path, compare(path)) for name, path in checked]
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
    with _opened(given.rows) as rows:
        for answer in score(config, RealDisk(), _lines(rows, given.rows)):
            _print(answer)
            code = LOOK if "error" in answer else code
    return code


def _status(given: argparse.Namespace) -> int:
    from edge.agent.status import status, text

    now = datetime.now(UTC)
    found = status(load(given.config), now)
    _say(given, found.document(), text(found, now))
    return GOOD if found.good else LOOK


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
        with _opened(str(given.root), "U30") as file:
            root = file.read(_MOST_LINE_BYTES)
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


def _opened(source: str, code: str = "U31") -> BinaryIO:
    if source == "-":
        return sys.stdin.buffer
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise DeliveryError(
            code,
            found=f"no file that can be read: {error.strerror}",
            where=source,
            mend="name a file, or - for standard input",
        ) from error


def _lines(rows: BinaryIO, source: str) -> Iterator[bytes]:
    while line := rows.readline(_MOST_LINE_BYTES):
        if len(line) == _MOST_LINE_BYTES:
            raise DeliveryError(
                "U31",
                found=f"a line of more than {_MOST_LINE_BYTES:,} bytes",
                where=source,
                mend="send one row a line",
            )
        yield line


def _say(given: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    _print(document) if given.json else print(text)


def _print(document: dict[str, Any]) -> None:
    print(json.dumps(document, ensure_ascii=False), flush=True)


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
        "--root", type=Path, help="root.json, given by hand; else the channel's first"
    )
    init.add_argument("--root-sha256", metavar="HEX", help="what root.json must be; asked for else")
    init.add_argument("--state", type=Path, help="folder of slots and parts")
    init.add_argument("--socket", type=Path, help="where the service answers rows")
    return parser
