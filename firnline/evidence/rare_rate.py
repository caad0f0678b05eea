"""That failures are rarer than a limit, such as one in a thousand, shown as early as can be.

A betting mixture (Waudby-Smith and Ramdas 2024, JRSS-B 86:1) whose alternatives are fractions
of the limit. The weights make the expected number of trials lie within 1.16 of the floor
ln 20 / KL for true rates of 0, a fifth and a half of the limit at once; more than half the
stake is on "never" and "about half as often".

At a limit of 1/1000 and alpha 0.05 it accepts after 3,477, 7,438, 9,639, 11,572, ... trials at
0, 1, 2, 3, ... failures; 2,995 clean trials, the textbook's figure, hold for one look only. A
rate exactly at the limit is accepted with probability at most alpha, and mostly never decided.
"""

from firnline.evidence.sequential import BernoulliMixture

LIMIT = 0.001

# Fraction of the limit -> share of the stake.
_STAKES = {
    0.00: 0.42091,
    0.03: 0.04077,
    0.08: 0.08210,
    0.15: 0.04050,
    0.25: 0.03805,
    0.40: 0.02818,
    0.55: 0.32732,
    0.70: 0.02050,
    0.85: 0.00167,
}


def rarer_than(limit: float = LIMIT) -> BernoulliMixture:
    """Test of `p >= limit`; a failure is what must stay rare.

    Two uses: labelled pairs, where a failure is a loss of the candidate; and no labels at all,
    where a failure is any disagreement, since losses are at most the disagreements.

    Example:
        >>> from firnline.evidence.sequential import first_crossing
        >>> import numpy as np
        >>> first_crossing(rarer_than().running(np.zeros(4_000, bool)), 0.05)
        3477
    """
    alternatives = tuple(fraction * limit for fraction in _STAKES)
    return BernoulliMixture(limit, alternatives, tuple(_STAKES.values()))
