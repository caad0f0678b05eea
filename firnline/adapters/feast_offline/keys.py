"""Join keys as small integers: the entity rows' keys are numbered, feature rows look theirs up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from firnline.adapters.feast_offline.times import Integers
from firnline.errors import HandshakeError

NO_KEY = -1


@dataclass(frozen=True)
class Vocabulary:
    """The distinct keys of the entity rows, in order.

    Attributes:
        types: Type in which each key column is compared.
        values: Distinct values of each key column, ascending.
        pairs: For the second column and each later one, the distinct pairs of (number of the
            columns before, number in this column) as one integer, ascending.
        size: Distinct keys; a key without columns is one key.
    """

    types: tuple[Any, ...]
    values: tuple[Any, ...]
    pairs: tuple[Integers, ...]
    size: int


def common_type(left: Any, right: Any, where: str) -> Any:
    """The Arrow type in which two key columns compare.

    Raises:
        HandshakeError: O5 when they do not, such as text with numbers.
    """
    kinds = [_kind(item) for item in (left, right)]
    if kinds[0] == kinds[1]:
        return kinds[0]
    if set(kinds) == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.null() in kinds:
        return kinds[0] if kinds[1] == pa.null() else kinds[1]
    raise HandshakeError(
        "O5",
        found=f"the entity rows' key is {left} and the feature rows' key is {right}",
        where=where,
        mend="give the entity rows the feature table's type",
    )


def learn(columns: Sequence[Any], types: Sequence[Any], rows: int) -> tuple[Vocabulary, Integers]:
    """Number the keys of the entity rows.

    Args:
        columns: One Arrow column a key column, of equal length; none where there is no key.
        types: Type to compare each in.
        rows: Length of the columns.

    Returns:
        The vocabulary, and a number a row in the order of the keys; `NO_KEY` where a key column
        is null, for null equals nothing.

    Raises:
        HandshakeError: O5 when a value does not fit its column's type.
    """
    values, pairs = [], []
    numbers = np.zeros(rows, np.int64)
    size = 1
    for place, (column, kind) in enumerate(zip(columns, types, strict=True)):
        column = _as(column, kind)
        distinct = pc.drop_null(pc.unique(column))
        distinct = distinct.take(pc.sort_indices(distinct))
        values.append(distinct)
        here = _look_up(column, distinct)
        if place == 0:
            numbers, size = here, len(distinct)
            continue
        both = _pair(numbers, here, len(distinct))
        known = np.unique(both[both != NO_KEY])
        pairs.append(known)
        numbers, size = _place(both, known), len(known)
    return Vocabulary(tuple(types), tuple(values), tuple(pairs), size), numbers


def look_up(vocabulary: Vocabulary, columns: Sequence[Any], rows: int) -> Integers:
    """The number of each feature row's key; `NO_KEY` where no entity row has it."""
    numbers = np.zeros(rows, np.int64)
    for place, column in enumerate(columns):
        values = vocabulary.values[place]
        here = _look_up(_as(column, vocabulary.types[place]), values)
        if place == 0:
            numbers = here
        else:
            both = _pair(numbers, here, len(values))
            numbers = _place(both, vocabulary.pairs[place - 1])
    return numbers


def _look_up(column: Any, distinct: Any) -> Integers:
    found = pc.index_in(column, value_set=distinct, skip_nulls=True)
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    numbers: Integers = found.fill_null(NO_KEY).to_numpy().astype(np.int64)
    return numbers


def _pair(before: Integers, here: Integers, size: int) -> Integers:
    return np.where((before == NO_KEY) | (here == NO_KEY), NO_KEY, before * size + here)


def _place(both: Integers, known: Integers) -> Integers:
    if len(known) == 0:
        return np.full(len(both), NO_KEY, np.int64)
    place = np.minimum(np.searchsorted(known, both), len(known) - 1)
    return np.where(known[place] == both, place, NO_KEY)


def _kind(kind: Any) -> Any:
    """One type for all that compare as equals; pandas makes integers with a gap floating."""
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        return pa.string()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    if pa.types.is_date(kind):
        return pa.date32()
    return kind


def _as(column: Any, kind: Any) -> Any:
    if column.type == kind:
        return column
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise HandshakeError(
            "O5",
            found=f"a key of type {column.type} that is no {kind}: {error}",
            where="the join keys",
            mend="give the entity rows and the feature table keys of one type",
        ) from error
