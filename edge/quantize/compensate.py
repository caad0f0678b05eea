"""Weights that make up for what int8 loses, measured on the calibration rows.

Before rounding, weights move to where they undo what the layers before have lost; while rounding,
every column makes up for those before it. Both fit the rows they were made of better than others.
So both are made of each half of the rows and judged on the other half: how far weights move, how
much compensation is damped, and whether it is better than rounding each weight by itself.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAMPINGS = (0.01, 0.1, 1.0)
"""What compensation may be damped by: shares of the input's mean energy."""

_MOST_COLUMNS = 1024
"""Of a block that is rounded on its own."""
_MOST_SOLVED = 2048
"""Wider windows keep the weights they have: solving for others takes too long."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """What some calibration rows show of a layer's input, group by group.

    Attributes:
        second: Mean products of two columns of the window, as the int8 layers before make them,
            [groups, K, K].
        cross: Mean products of a column as the float model has it, and one as int8 makes it,
            [groups, K, K].
        first: Mean of each column as int8 makes it, [groups, K].
        real: Mean of each column as the float model has it, [groups, K].
        count: Windows that these are means over.
    """

    second: Matrix
    cross: Matrix
    first: Matrix
    real: Matrix
    count: int

    def times(self, flat: Matrix) -> Matrix:
        """Products of weights [channels, K] and `second`, each channel by its group's."""
        return self._times(flat, self.second)

    def lost(self, flat: Matrix) -> Matrix:
        """What weights [channels, K] give less of int8 inputs than of float ones, likewise."""
        return self._times(flat, self.cross - self.second)

    @staticmethod
    def _times(flat: Matrix, products: Matrix) -> Matrix:
        grouped = flat.reshape(len(products), -1, flat.shape[1])
        made: Matrix = (grouped @ products).reshape(flat.shape)
        return made


Halves = tuple[Moments, Moments]


def joined(halves: Halves) -> Moments:
    """Moments of both halves together."""
    one, other = halves
    count = one.count + other.count
    share = one.count / count

    def mean(left: Matrix, right: Matrix) -> Matrix:
        return share * left + (1 - share) * right

    return Moments(
        mean(one.second, other.second),
        mean(one.cross, other.cross),
        mean(one.first, other.first),
        mean(one.real, other.real),
        count,
    )


def moved(flat: Matrix, halves: Halves) -> Matrix:
    """Weights [channels, K] that give of int8 inputs what the given ones give of float inputs.

    The least squares of W x - V xq, damped, of which as large a share is taken, from none to all,
    as moves the other half's outputs nearest to float.
    """
    if flat.shape[1] > _MOST_SOLVED:
        return flat
    products = energies = 0.0
    for made, judge in (halves, halves[::-1]):
        step = _correction(flat, made)
        products += judge.count * float((judge.lost(flat) * step).sum())
        energies += judge.count * float((judge.times(step) * step).sum())
    share = min(max(products / energies, 0.0), 1.0) if energies > 0 else 0.0
    return flat + share * _correction(flat, joined(halves)) if share else flat


def compensated(flat: Matrix, steps: Matrix, halves: Halves, levels: int) -> Matrix:
    """Round column by column; what is left of each is made up for by the columns to come.

    Minimises the mean square of (W - Wq) x over the calibration rows (Frantar et al. 2023, GPTQ,
    with the columns of most energy first). The damping is the one whose integers, made of one
    half of the rows, leave least on the other; each weight is rounded by itself where that leaves
    less than any.

    Args:
        flat: Weights [channels, K].
        steps: Scale of every channel, [channels].
        halves: Moments of the input, one group for as many channels each.
        levels: Greatest integer.

    Returns:
        Whole numbers [channels, K].
    """

    def left(whole: Matrix, judge: Moments) -> float:
        lost = flat - whole * steps[:, None]
        return judge.count * float((judge.times(lost) * lost).sum())

    by_itself = _nearest(flat, steps[:, None], levels)
    least, best = sum(left(by_itself, judge) for judge in halves), 0.0
    for damping in DAMPINGS:
        found = sum(
            left(_by_columns(flat, steps, made, levels, damping), judge)
            for made, judge in (halves, halves[::-1])
        )
        if found < least:
            least, best = found, damping
    return _by_columns(flat, steps, joined(halves), levels, best) if best else by_itself


def _nearest(values: Matrix, steps: Matrix, levels: int) -> Matrix:
    made: Matrix = np.clip(np.rint(values / steps), -levels, levels)
    return made


def _correction(flat: Matrix, made: Moments) -> Matrix:
    """What weights move by where all of the damped least squares is taken."""
    grouped = made.lost(flat).reshape(len(made.first), -1, flat.shape[1])
    solved = np.linalg.solve(_damped(made.second, DAMPINGS[0]), grouped.swapaxes(1, 2))
    return np.asarray(solved.swapaxes(1, 2).reshape(flat.shape), np.float64)


def _damped(second: Matrix, damping: float) -> Matrix:
    """Moments [groups, K, K] that can be inverted, a group without energy too."""
    columns = second.shape[1]
    energy = np.trace(second, axis1=1, axis2=2) / columns
    added = np.where(energy > 0, damping * energy, 1.0)
    made: Matrix = second + added[:, None, None] * np.eye(columns)
    return made


def _by_columns(flat: Matrix, steps: Matrix, made: Moments, levels: int, damping: float) -> Matrix:
    """Whole numbers [channels, K]; columns by falling energy, in blocks on their own."""
    groups, columns = made.first.shape
    rows, sizes = flat.reshape(groups, -1, columns), steps.reshape(groups, -1)
    whole = np.empty_like(rows)
    order = np.argsort(-np.diagonal(made.second, axis1=1, axis2=2), axis=1, kind="stable")
    for part in np.array_split(order, -(-columns // _MOST_COLUMNS), axis=1):
        across = part[:, None, :]
        second = np.take_along_axis(made.second, part[:, :, None], axis=1)
        second = np.take_along_axis(second, across, axis=2)
        block = np.take_along_axis(rows, across, axis=2)
        rounded = _rounded(block, sizes, _damped(second, damping), levels)
        np.put_along_axis(whole, across, rounded, axis=2)
    return whole.reshape(flat.shape)


def _rounded(left: Matrix, steps: Matrix, damped: Matrix, levels: int) -> Matrix:
    """Whole numbers for weights [groups, channels, K] whose columns are in the order of rounding.

    Args:
        left: The weights; changed.
        steps: Scales, [groups, channels].
        damped: Moments [groups, K, K].
        levels: Greatest integer.
    """
    # Row j of the inverse's upper Cholesky factor says how column j's error is made up for.
    factor = np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(1, 2)
    whole = np.empty_like(left)
    for column in range(left.shape[2]):
        row = factor[:, None, column]
        whole[..., column] = _nearest(left[..., column], steps, levels)
        error = (left[..., column] - whole[..., column] * steps) / row[..., column]
        left[..., column + 1 :] -= error[..., None] * row[..., column + 1 :]
    return whole
