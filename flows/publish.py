"""Publication: a release goes to the channel when somebody says so, and who it was is kept."""

from pathlib import Path
from typing import Annotated, Literal

from prefect import State, flow, runtime
from prefect.client.orchestration import get_client
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Cancelled
from pydantic import ConfigDict, Field

from firnline import wiring
from firnline.contracts.offer import MAX_NAME, Offer, refusal
from firnline.decision import Decision
from firnline.errors import EvidenceError
from firnline.workload import locate
from flows.offers import TRACK, markdown
from flows.steps import Document
from flows.verdicts import publish as show
from flows.waiting_runs import question, said

KIND = "publication"
WAIT_DAYS = 7
_WAIT_SECONDS = 60.0  # For another publisher.


class Approval(RunInput):
    """What whoever approves, or refuses, has to say.

    Attributes:
        approver: Who gives their word.
        approve: False refuses the release.
        track: Where it goes.
        share: Share of the track's devices that get it, in (0, 1].
        reason: Why, in one sentence.
        proved: Leaves out the targets that no proof accepts.
        unproved: Why those go with it instead; the assignment records it.
    """

    approver: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    approve: bool = True
    track: Literal["canary", "beta", "stable"] = "beta"
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    reason: Annotated[str, Field(max_length=500)] = ""
    proved: bool = False
    unproved: Annotated[str, Field(max_length=500)] = ""


class ApprovalOfSome(Approval):
    """The same, for a release with targets that no proof accepts: it says what becomes of them.

    The server refuses a word that does not, and the run goes on waiting; a terminal is held to
    the same by V7.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"properties": {"approve": {"const": False}}, "required": ["approve"]},
                {"properties": {"proved": {"const": True}}, "required": ["proved"]},
                {"properties": {"unproved": {"pattern": r"\S"}}, "required": ["unproved"]},
            ]
        }
    )


@flow(name="publish", validate_parameters=False, persist_result=True, result_serializer="json")
def publish(
    ensemble: str, release: str | None = None, wait_days: float = WAIT_DAYS
) -> Document | State[Document]:
    """Wait for an approval of an offered release, and publish it.

    The run is suspended meanwhile: it holds no process, and goes on from its start once somebody
    resumes it. Whatever settled the offer in the meantime stands. A run that was given a word and
    failed goes on with it when it is started again.

    Args:
        ensemble: Name or folder of the ensemble.
        release: Digest of the bundle; the only one that waits when not given.
        wait_days: How long to wait; the offer stays afterwards.

    Returns:
        The decision's document; of a release that is superseded, that the run is cancelled.

    Raises:
        EvidenceError: E96, no such release is offered; E97, its export is gone; E98, it was
            superseded at the last moment; V7, nothing was said of targets that no proof accepts.
        DeliveryError: A V-code, the channel refuses it; D-codes, the bundle is not whole.
    """
    name = locate(ensemble, wiring.settings().project).name
    found = release_of(name, release)
    if found.verdict == "superseded":
        return Cancelled(message=str(refusal(found)))
    if found.verdict != "waiting":
        return settled(found).document()
    decision = decide(found, _word(found, wait_days))
    document = decision.document()
    show(name, document, reused=False)
    return document


def _word(found: Offer, wait_days: float) -> Approval:
    """What was said of a release; the run ends here, suspended, where nobody has yet.

    The server forgets which pauses were over when somebody retries a failed run, yet keeps what
    was answered.
    """
    with get_client(sync_client=True) as client:
        given = said(client, runtime.flow_run.id, found)
    if given is not None:
        return Approval(**given)
    form = ApprovalOfSome if found.unproved else Approval
    asked = form.with_initial_data(description=markdown(found), track=TRACK)
    seconds = round(wait_days * 86_400)
    return suspend_flow_run(wait_for_input=asked, timeout=seconds, key=question(found))


def decide(found: Offer, word: Approval) -> Decision:
    """Do what was said of a release, and write it down.

    Raises:
        EvidenceError: E97, its export is gone; E98, it is superseded; V7, nothing was said of
            targets that no proof accepts.
        DeliveryError: A V-code, the channel refuses it; D-codes, the bundle is not whole.
    """
    latest = wiring.offers().get(found.ensemble, found.release) or found
    if latest.verdict == "superseded":
        raise refusal(latest)
    if latest.verdict != "waiting":
        return settled(latest)
    decision = _published(found, word) if word.approve else _refused(found, word)
    wiring.ledger().append(decision)
    wiring.offers().settle(
        found.ensemble,
        found.release,
        verdict="published" if word.approve else "refused",
        by=word.approver,
        reason=decision.reason,
    )
    return decision


def settled(found: Offer) -> Decision:
    """The decision that an offer was settled by, told from the offer alone."""
    return Decision(
        kind=KIND,
        subject=found.ensemble,
        verdict=found.verdict,
        reason=found.reason,
        rules=("settled",),
        numbers={"approver": found.by},
        inputs={"bundle": found.release},
    )


def _published(found: Offer, word: Approval) -> Decision:
    """Publish to the channel, with the keys that its config names.

    Raises:
        EvidenceError: E97 or V7.
        DeliveryError: A V-code or a D-code.
    """
    from edge.channel.publish import publish as to_channel
    from edge.channel.repository import Repository

    others = () if word.proved else found.unproved
    left_out = ", ".join(found.unproved) if word.proved else ""
    repository = Repository(wiring.settings().channel_folder, wait=_WAIT_SECONDS)
    made = to_channel(
        repository,
        bundle_of(found),
        track=word.track,
        share=word.share,
        targets=[*found.proved, *others],
        unproved=dict.fromkeys(others, word.unproved),
        reason=word.reason,
        lock=wiring.lock().digests(),
        expected=found.release,
    )
    return Decision(
        kind=KIND,
        subject=found.ensemble,
        verdict="published",
        reason=_told(
            word,
            f"to {100 * made.share:g} % of {made.track}"
            + (f", without {left_out}" if left_out else ""),
        ),
        rules=("approval",),
        numbers={
            "approver": word.approver,
            "track": made.track,
            "share": made.share,
            "version": made.version,
            "targets": ", ".join(made.targets),
            "unproved": ", ".join(made.unproved) or None,
            "left_out": left_out or None,
            "run": runtime.flow_run.id,
        },
        inputs={
            "bundle": made.release,
            **{f"manifest {target}": pin.sha256 for target, pin in made.targets.items()},
        },
    )


def _refused(found: Offer, word: Approval) -> Decision:
    return Decision(
        kind=KIND,
        subject=found.ensemble,
        verdict="refused",
        reason=_told(word, "not published"),
        rules=("approval",),
        numbers={"approver": word.approver, "run": runtime.flow_run.id},
        inputs={"bundle": found.release},
    )


def _told(word: Approval, what: str) -> str:
    return f"{word.approver}: {what}" + (f"; {word.reason}" if word.reason else "")


def bundle_of(found: Offer) -> Path:
    """Where an offered release lies.

    Raises:
        EvidenceError: E97, its export is gone.
    """
    made = wiring.artifacts().find(found.ensemble, "export", bundle=found.release)
    if made is None:
        raise EvidenceError(
            "E97",
            found=f"the export of release {found.release[:12]} is gone, or not whole",
            where=str(wiring.artifacts().root / found.ensemble / "export"),
            mend=f"firnline run {found.ensemble}: the same inputs give the same release",
        )
    return made[0] / "bundle"


def release_of(name: str, release: str | None) -> Offer:
    """The offer of a release, or the only one that waits.

    Args:
        name: The ensemble.
        release: Digest of the bundle.

    Raises:
        EvidenceError: E96, there is none, or more than one.
    """
    if release is not None:
        found = wiring.offers().get(name, release)
        waiting = [found] if found else []
    else:
        waiting = [each for each in wiring.offers().waiting() if each.ensemble == name]
    if len(waiting) == 1:
        return waiting[0]
    listed = ", ".join(each.release[:12] for each in waiting) or "none"
    raise EvidenceError(
        "E96",
        found=f"{'release ' + release[:12] if release else 'one release'} is asked for, offered "
        f"and waiting: {listed}",
        where=f"offers of {name}",
        mend=f"name one by its digest, or offer one: firnline run {name}",
    )
