"""Where every value of a program lies: in the caller's arrays, or in an arena shared over time.

Inputs are read where the caller holds them and outputs written where it wants them. What is between
lies in one arena, in which memory is used again as soon as its value has been read for the last
time; reshapes share the memory of what they reshape, and element-by-element operations write over
what they read. Places are found by first fit in several orders, of which the best is kept and
improved (Pisarchyk and Lee 2020, Efficient Memory Management for Deep Neural Net Inference,
section 5, describe such orders and the lower bound).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge.mcu.kernels import padded
from edge.program import (
    Add,
    Dequantize,
    FloatBinary,
    FloatImpute,
    FloatReduce,
    FloatSoftmax,
    FloatUnary,
    Program,
    Quantize,
    Reshape,
    Softmax,
    Table,
)

ATTEMPTS = 64
"""Orders tried beyond the first ones, while the arena is larger than the lower bound."""

_IN_PLACE = (
    Add,
    Dequantize,
    FloatBinary,
    FloatImpute,
    FloatReduce,
    FloatSoftmax,
    FloatUnary,
    Quantize,
    Softmax,
    Table,
)


@dataclass(frozen=True)
class Home:
    """Where a value lies.

    Attributes:
        kind: In which memory.
        place: Which input or output, or the byte of the arena.
    """

    kind: Literal["input", "output", "arena"]
    place: int


@dataclass(frozen=True)
class Plan:
    """The memory of a program.

    Attributes:
        homes: Of every value, by name.
        scratch: Byte of the arena where each operation's working memory begins.
        arena_bytes: Size of the arena, a multiple of `kernels.ALIGNMENT`.
        live: Bytes of the arena that hold something during each operation.
        copies: Outputs (by place) that share their memory with another value, and that value: they
            are copied when all is computed.
    """

    homes: dict[str, Home]
    scratch: tuple[int, ...]
    arena_bytes: int
    live: tuple[int, ...]
    copies: tuple[tuple[int, str], ...]


@dataclass
class _Block:
    """Memory that one or more values use one after another, or at once when they are reshapes."""

    first: int
    last: int
    filled: int  # the most bytes that a value of it has
    output: int | None = None
    pinned: bool = False
    members: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return padded(self.filled)


def plan(program: Program, scratch: Sequence[int]) -> Plan:
    """Place every value.

    Args:
        program: The program.
        scratch: Bytes of working memory of each operation, 0 for none.
    """
    known = _readings(program)
    blocks = _blocks(program, known)
    shared = [block for block in blocks if block.output is None and not block.pinned]
    own = {index: _Block(index, index, size) for index, size in enumerate(scratch) if size}
    items = [*shared, *own.values()]
    places = _places(items)
    homes: dict[str, Home] = {}
    for block in blocks:
        if block.pinned:
            home = Home("input", program.inputs.index(block.members[0]))
        elif block.output is not None:
            home = Home("output", block.output)
        else:
            home = Home("arena", places[id(block)])
        homes |= dict.fromkeys(block.members, home)
    return Plan(
        homes=homes,
        scratch=tuple(places[id(own[i])] if i in own else 0 for i in range(len(scratch))),
        arena_bytes=_end(items, places),
        live=tuple(_live(items, index) for index in range(len(scratch))),
        copies=known.copies,
    )


@dataclass(frozen=True)
class _Readings:
    """Who reads and holds what; a value's root is what it is a reshape of, else itself.

    Attributes:
        root: Of every value.
        last: Index of the last operation that reads a root; the number of operations for outputs.
        output: Roots that are written straight into an output, and which.
        copies: The other outputs, and their values.
    """

    root: dict[str, str]
    last: dict[str, int]
    output: dict[str, int]
    copies: tuple[tuple[int, str], ...]


def _readings(program: Program) -> _Readings:
    root = {name: name for name in program.values}
    last: dict[str, int] = {}
    for index, step in enumerate(program.operations):
        if isinstance(step, Reshape):
            root[step.output] = root[step.inputs[0]]
        last |= {root[name]: index for name in step.inputs}
    output: dict[str, int] = {}
    copies = []
    for place, name in enumerate(program.outputs):
        last[root[name]] = len(program.operations)
        if root[name] in output or root[name] in program.inputs:
            copies.append((place, name))
        else:
            output[root[name]] = place
    return _Readings(root, last, output, tuple(copies))


def _blocks(program: Program, known: _Readings) -> list[_Block]:
    """Values gathered into blocks of memory."""
    blocks = []
    holders: dict[str, _Block] = {}
    for name in program.inputs:
        size, end = program.values[name].bytes, len(program.operations)
        holders[name] = _Block(-1, end, size, pinned=True, members=[name])
        blocks.append(holders[name])
    for index, step in enumerate(program.operations):
        made = step.output
        if known.root[made] != made:
            holders[known.root[made]].members.append(made)
            continue
        block = _reused(program, known, holders, index)
        if block is None:
            block = _Block(index, index, 0)
            blocks.append(block)
        block.filled = max(block.filled, program.values[made].bytes)
        block.output = known.output.get(made)
        block.last = max(index, known.last.get(made, index))
        block.members.append(made)
        holders[made] = block
    return blocks


def _reused(
    program: Program, known: _Readings, holders: dict[str, _Block], index: int
) -> _Block | None:
    """The block of an input that an operation's result may be written over."""
    step = program.operations[index]
    if not isinstance(step, _IN_PLACE):
        return None
    made = program.values[step.output]
    for name in step.inputs:
        block = holders[known.root[name]]
        whole = program.values[name].size == made.size or isinstance(step, FloatReduce)
        taken = block.pinned or block.output is not None or known.last[known.root[name]] != index
        fits = made.name not in known.output or block.filled <= made.bytes
        if whole and fits and not taken:
            return block
    return None


def _places(items: Sequence[_Block]) -> dict[int, int]:
    """Byte of the arena for every block: the best of several orders of first fit."""
    bound = max((_live(items, index) for item in items for index in (item.first,)), default=0)
    orders = (
        sorted(items, key=lambda item: (-item.size, item.first)),
        sorted(items, key=lambda item: (-item.size * (item.last - item.first + 1), item.first)),
        sorted(items, key=lambda item: (item.first - item.last, -item.size)),
        sorted(items, key=lambda item: (item.first, -item.size)),
        sorted(items, key=lambda item: (-item.last, -item.size)),
    )
    found = [(order, _first_fit(order)) for order in orders]
    order, best = min(found, key=lambda pair: _end(items, pair[1]))
    tried = best
    for _ in range(ATTEMPTS):
        if _end(items, best) <= bound:
            break
        end = _end(items, tried)
        high = [item for item in order if tried[id(item)] + item.size == end]
        order = high + [item for item in order if item not in high]
        tried = _first_fit(order)
        if _end(items, tried) < _end(items, best):
            best = tried
    return best


def _first_fit(order: Iterable[_Block]) -> dict[int, int]:
    """Each block at the lowest byte that is free for as long as it lives."""
    places: dict[int, int] = {}
    done: list[_Block] = []
    for item in order:
        busy = sorted(
            (places[id(other)], places[id(other)] + other.size)
            for other in done
            if other.first <= item.last and item.first <= other.last
        )
        place = 0
        for start, end in busy:
            if place + item.size <= start:
                break
            place = max(place, end)
        places[id(item)] = place
        done.append(item)
    return places


def _end(items: Sequence[_Block], places: dict[int, int]) -> int:
    return max((places[id(item)] + item.size for item in items), default=0)


def _live(items: Sequence[_Block], index: int) -> int:
    return sum(item.size for item in items if item.first <= index <= item.last)
