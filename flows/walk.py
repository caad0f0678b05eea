"""The walk: from one answer of a device back to the raw readings, every link computed again.

Each link takes what the one before names by its digest, makes that thing anew or hashes it again,
and compares. Nothing is taken from a record that can be computed; a link that cannot be looked at
because one before it is broken is named as well.
"""

import tempfile
from pathlib import Path
from typing import Any

from firnline import wiring
from flows import walk_answer, walk_data, walk_release, walk_row
from flows.walk_answer import Answer
from flows.walk_links import Seen, Trail, Walk
from flows.walk_release import Bundle

__all__ = ["walk"]

Slots = dict[str, Path]


def walk(log: Path, wanted: str, channel: Path | None = None) -> Walk:
    """Walk from an answer to the raw readings it was made of.

    Args:
        log: Folder of a device's score log, or one segment of it.
        wanted: The answer's id or the first digits of it, its request, or `newest`.
        channel: The channel's folder; the project's own when not given.

    Raises:
        DeliveryError: W1, the log holds no such answer; U34, a segment of it was altered.
    """
    record = walk_answer.find(log, wanted)
    trail = Trail()
    answer = trail.look("answer", lambda: walk_answer.recomputed(record))
    if answer is None:
        trail.skip("release", because="the answer does not say which release it is of")
        return Walk(record, tuple(trail.links))
    bundle = trail.look("bundle", lambda: walk_release.exported(answer.release))
    if bundle is None:
        trail.skip("release", "score", "features", "readings", because="the bundle is not here")
        return Walk(record, tuple(trail.links))
    with tempfile.TemporaryDirectory(dir=wiring.settings().state, prefix=".walk-") as scratch:
        slots = _channel(trail, answer, bundle, channel, Path(scratch))
        _features(trail, answer, bundle, slots)
    return Walk(record, tuple(trail.links))


def _channel(
    trail: Trail, answer: Answer, bundle: Bundle, channel: Path | None, scratch: Path
) -> Slots | None:
    """The links through the channel; device bundles that were made anew, by target."""
    from edge.channel.repository import Repository

    repository = Repository(channel or wiring.settings().channel_folder)

    def assigned() -> tuple[Seen, Any]:
        state = repository.state()
        seen, pins = walk_release.assigned(state, bundle.name, answer.release, answer.device)
        return seen, (state, pins)

    found = trail.look("assignment", assigned)
    if found is None:
        trail.skip("release", because="no assignment names its manifests")
        return None
    state, pins = found
    return trail.look(
        "release",
        lambda: walk_release.published(state, bundle, answer.release, pins, scratch),
    )


def _features(trail: Trail, answer: Answer, bundle: Bundle, slots: Slots | None) -> None:
    """The links from the score to the readings."""
    manifest = bundle.manifest
    defined = trail.look("versions", lambda: walk_data.versions(manifest))
    row = None
    if defined is None:
        trail.skip("features", "data", because="its features mean something else here")
    else:
        row = trail.look("features", lambda: walk_row.stored(answer, manifest, defined.views))
        trail.look("data", lambda: walk_data.data(manifest, defined))
    if row is None or slots is None:
        trail.skip("score", because="the row, or the model, is not known")
    else:
        trail.look("score", lambda: walk_row.scored(answer, row, slots))
    trail.look("training set", lambda: walk_data.training_set(manifest))
    ingested = trail.look("snapshot", lambda: walk_data.trained_on(manifest))
    if row is not None and not row.trained:
        ingested = trail.look("newest snapshot", lambda: walk_data.newest(bundle.name))
    if row is None or defined is None or ingested is None:
        trail.skip("windows", "readings", because="the row, or the readings, are not known")
        return
    clean = ingested.folder / "clean"
    trail.look("windows", lambda: walk_row.computed(answer, row, manifest, defined.views, clean))
    trail.look("readings", lambda: walk_data.rows(answer, row, defined.workload, ingested))
