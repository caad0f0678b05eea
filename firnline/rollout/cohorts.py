"""Cohorts: where a device stands in the order in which a release reaches the fleet.

The place is a hash of the device's name and a salt, so nobody keeps a list, a device that joins
later has its place too, and another salt draws another order. The hash is ours and written down
here, since libraries have changed theirs between versions, and with it who was exposed.
"""

import hashlib

_BITS = 64


def place(device: str, salt: str) -> float:
    """Where a device stands among all, uniform in [0, 1).

    sha256 over `salt`, a newline and `device` in UTF-8; its first 64 bits as a fraction.

    Args:
        device: The device's name.
        salt: What draws this order; the same for every step of one rollout.

    >>> round(place("unit-00042", "refrigeration/stable"), 6)
    0.949995
    """
    hashed = hashlib.sha256(f"{salt}\n{device}".encode()).digest()
    # 53 bits are what a float holds exactly; more would round up to 1.0 for the last devices.
    return (int.from_bytes(hashed[: _BITS // 8], "big") >> (_BITS - 53)) / (1 << 53)
