"""Who loses where two models disagree: an anytime-valid McNemar test.

Where both are right or both are wrong a pair says nothing about which is better; among the
discordant pairs theta = P(candidate loses) is 1/2 for equals (McNemar 1947, Psychometrika
12:153). McNemar's exact test is valid once; looked at after every pair it rejects equals in
44 % of shadows. The e-process here may be looked at always.

Expected discordant pairs until a worse candidate is found, exact (`plan_cost`), alpha 0.05:

| theta | pairs | floor ln 20 / KL(theta, 1/2) |
|---|---|---|
| .55 | 791 | 598 |
| .60 | 185 | 149 |
| .70 | 44 | 36 |
| .80 | 19 | 16 |

Equals are called worse within 10,000 discordant pairs in 4.5 % of shadows.
"""

from firnline.evidence.sequential import BernoulliMixture

EVEN = 0.5

# Spread over what a release meets: a close race, and one that is lost outright.
THETAS = (0.55, 0.60, 0.70, 0.80, 0.90)


def loses_more_often() -> BernoulliMixture:
    """Test of `theta <= 1/2`; failures are losses among discordant pairs.

    Example:
        >>> from firnline.evidence.sequential import first_crossing
        >>> import numpy as np
        >>> first_crossing(loses_more_often().running(np.ones(20, bool)), 0.05)
        7
    """
    share = 1 / len(THETAS)
    return BernoulliMixture(EVEN, THETAS, (share,) * len(THETAS))


def wins_more_often() -> BernoulliMixture:
    """Test of `theta >= 1/2`, the mirror image; failures are losses here too."""
    share = 1 / len(THETAS)
    return BernoulliMixture(EVEN, tuple(1 - theta for theta in THETAS), (share,) * len(THETAS))
