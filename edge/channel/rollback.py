"""Rolling back: a higher version of the assignment that names an older release."""

from edge.channel.assigned import (
    Assigned,
    commit_assignment,
    following,
    known_track,
    nothing,
    outcome,
)
from edge.channel.release import full_name, pins
from edge.channel.repository import Repository
from edge.channel.state import State


def rollback(
    repo: Repository, ensemble: str, track: str, *, release: str | None = None, reason: str
) -> Assigned:
    """Give a whole track an older release.

    TUF lets no version go down, so the version goes up and the release goes back.

    Args:
        repo: The channel.
        ensemble: Its name.
        track: The track.
        release: Digest or its start; the one that stood before the present one unless told. One
            that was rolled back from is never chosen by itself.
        reason: Why, in one sentence.

    Raises:
        DeliveryError: V8, there is nothing to go back to; V2 to V6.
    """
    known_track(track)
    with repo.locked() as state:
        before = state.assignment(track, ensemble)
        if before is None:
            raise nothing(f"nothing of {ensemble}", f"the track {track}", "publish a release first")
        chosen = (
            full_name(state, ensemble, release) if release else _earlier(state, track, ensemble)
        )
        above = repo.config.above
        stands = before.newest == chosen and before.waves[0].share == 1
        if stands and before.version > above:
            return outcome(before, before)
        found = pins(state, ensemble, chosen)
        after = following(
            before, ensemble, track, chosen, found, 1.0, reason, back=True, above=above
        )
        commit_assignment(repo, state, after)
        return outcome(before, after)


def _earlier(state: State, track: str, ensemble: str) -> str:
    """What stood before the newest release was first assigned."""
    chain = [found for _, found in state.history(track, ensemble)]
    newest = chain[0].newest
    first = max(place for place, found in enumerate(chain) if found.newest == newest)
    older = [found.newest for found in chain[first + 1 :] if found.newest]
    if not older:
        raise nothing(
            f"nothing before {str(newest)[:12]}",
            f"the history of {ensemble} on {track}",
            "name the release to go back to",
        )
    return str(older[0])
