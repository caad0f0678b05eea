"""When to poll next: spread over the fleet, and ever more rarely while it fails."""

_FIRST_RETRY_SECONDS = 30.0
_MOST_DOUBLINGS = 16


def first(poll_seconds: float, installed: bool, draw: float) -> float:
    """Seconds to the first poll after a start.

    A fleet that comes back from one power cut spreads over a whole period; a device that has
    nothing to run asks at once.

    Args:
        poll_seconds: Time between two polls.
        installed: Whether the device has something to run.
        draw: Uniform in [0, 1).
    """
    return poll_seconds * draw if installed else 0.0


def following(poll_seconds: float, jitter: float, draw: float) -> float:
    """Seconds to the poll after a good one: uniform in `poll_seconds` * (1 +- `jitter` / 2).

    >>> following(3600, 0.5, 0.0), following(3600, 0.5, 0.5)
    (2700.0, 3600.0)
    """
    return poll_seconds * (1 + jitter * (draw - 0.5))


def retry(poll_seconds: float, failures: int, draw: float) -> float:
    """Seconds to the poll after a failed one.

    Exponential backoff with equal jitter (Brooker, "Exponential Backoff and Jitter", 2015): half
    of the doubled time is waited, the other half is drawn; never longer than a period.

    Args:
        poll_seconds: Time between two polls.
        failures: Failed polls in a row, at least 1.
        draw: Uniform in [0, 1).
    """
    whole = _FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
    return min(poll_seconds, whole) * (1 + draw) / 2
