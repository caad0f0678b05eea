"""Helium (MVE) code of the inner loops, written out for the shape of a layer.

VMLADAVA.S8 multiplies 16 pairs of bytes and adds them all to one general register, which must be
an even one: eight sums at most. A load of 16 weights serves one of them, so the floor at one place
is 2 instructions for 16 products, and what is left to save is everything else:

- eight rows share a load of x, and the first five chunks of x stay in registers for all rows;
- biases come by one LDM, the register list of which is the eight sums;
- where two places of a convolution are taken together, they share the loads of weights;
- requantisation is by integers (`edge.program.Requant`): VMULH is the product's high word, VRSHL
  the rounding shift, VQMOVN the clip; it costs 2.25 instructions an output.

Weights, biases and multipliers are one stream in the order in which they are read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edge.mcu.kernels.mve_layout import CHUNK, Finish, assembly

SUMS = ("r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr")
"""Registers that VMLADAVA can add to, in the order of LDM."""

MOST_UNROLLED = 16
"""Chunks of x that are loaded for every block of rows and still written out without a loop."""

TURN = 8
"""Chunks of one turn of the loop, where there is one."""


@dataclass(frozen=True)
class Shape:
    """What the code of a kernel depends on.

    Attributes:
        rows: Rows of weights taken together: 1 to 8, and 4 at most for two places or float32.
        places: Places of a convolution taken together, 1 or 2.
        chunks: Columns of weights by 16, rounded up.
        masked: Whether the last block of rows is not whole, or blocks are of less than 8 sums.
        finish: How sums become outputs.
    """

    rows: int
    places: int
    chunks: int
    masked: bool
    finish: Finish

    @property
    def name(self) -> str:
        """Of the C function."""
        mask = "_masked" if self.masked else ""
        kind = "dense" if self.places == 1 else "pairs"
        return f"firnline_mve_{kind}_{self.rows}x{self.chunks}_{self.finish}{mask}"

    @property
    def sums(self) -> tuple[str, ...]:
        """Registers of the sums: row by row, in a row place by place."""
        return SUMS[: self.rows * self.places]

    @property
    def kept(self) -> int:
        """Chunks of x that stay in registers."""
        return min(self.chunks, 5 if self.places == 1 else 1)

    @property
    def streamed(self) -> int:
        """Chunks of x that are loaded for every block of rows."""
        return self.chunks - self.kept

    @property
    def turns(self) -> int:
        """Of the loop over chunks; 0 where there is none."""
        return self.streamed // TURN if self.streamed > MOST_UNROLLED else 0

    @property
    def stepped(self) -> bool:
        """Whether pointers to x move on, and are put back after a block."""
        return self.streamed > 8


@dataclass(frozen=True)
class _Registers:
    """Where a kernel keeps what is neither a sum nor a chunk of a resident x.

    Attributes:
        x: Pointers to the windows.
        y: Pointer to the result.
        left: Results that are still to come.
        count: Turns of the loop.
        constants: Registers that hold shift and zero point, and the stack's place where they are
            to be loaded from; -1 if they stay in the registers.
        weights: Two vectors of weights, in turn.
        chunk: Vectors for chunks of x that are not kept.
    """

    x: tuple[str, ...]
    y: str
    left: str
    count: str
    constants: tuple[str, str, int]
    weights: tuple[str, str]
    chunk: tuple[str, ...]


_STREAM = "r1"
_SAVED = 100  # bytes: 9 registers and d8 to d15


def _registers(shape: Shape) -> _Registers:
    if shape.places == 2:
        return _Registers(
            ("r3", "r5"), "r7", "r9", "r11", ("r0", "r2", 0), ("q2", "q3"), ("q5", "q6")
        )
    constants = ("r0", "r2", _SAVED) if shape.turns else ("r9", "r11", -1)
    return _Registers(("r3",), "r5", "r7", "r9", constants, ("q6", "q7"), ("q5",))


def kernel(shape: Shape) -> str:
    """The C function of a shape, between guards: several layers may ask for it."""
    lines = _single(shape) if shape.places == 1 else _pairs(shape)
    parameters = _DENSE if shape.places == 1 else ("firnline_mve_run *run",)
    return assembly(shape.name, _comment(shape), parameters, lines)


_DENSE = (
    "const int8_t *x",
    "void *y",
    "const uint32_t *stream",
    "int32_t rows",
    "int32_t shift",
    "int32_t zero",
)


def _comment(shape: Shape) -> str:
    places = "one place" if shape.places == 1 else "two places"
    return (
        f"{shape.rows} rows of weights at a time, {shape.chunks} chunks of 16 columns, {places};\n"
        f" * the first {shape.kept} chunks of x stay in registers."
    )


def _single(shape: Shape) -> Iterator[str]:
    """A dense layer: x, y, stream and rows in r0 to r3; shift and zero on the stack."""
    use = _registers(shape)
    yield "push {r4-r11, lr}"
    yield "vpush {d8-d15}"
    yield "mov r7, r3"
    yield "mov r3, r0"
    yield "mov r5, r1"
    yield "mov r1, r2"
    if use.constants[2] < 0:
        yield f"ldrd r9, r11, [sp, #{_SAVED}]"
    yield from _keep(shape, use)
    yield "2:"
    yield from _block(shape, use)
    yield "bgt 2b"
    yield "vpop {d8-d15}"
    yield "pop {r4-r11, pc}"


def _pairs(shape: Shape) -> Iterator[str]:
    """A run of pairs of places: `firnline_mve_run` says where, and is counted down."""
    use = _registers(shape)
    yield "push {r0, r4-r11, lr}"
    yield "vpush {d8-d15}"
    yield "ldrd r2, r3, [r0, #32]"
    yield "vldrh.u16 q4, [r0, #40]"
    yield "push {r2, r3}"
    yield "3:"
    yield "ldr r0, [sp, #72]"
    yield "ldm r0, {r1, r3, r5, r7, r9}"
    yield from _keep(shape, use)
    yield "2:"
    yield from _block(shape, use)
    yield "bgt 2b"
    yield "ldr r0, [sp, #72]"
    yield "ldrd r2, r4, [r0, #4]"
    yield "ldrd r6, r8, [r0, #20]"
    yield "ldr r10, [r0, #28]"
    yield "ldr r12, [r0, #12]"
    yield "add r2, r2, r6"
    yield "add r4, r4, r6"
    yield "add r12, r12, r8"
    yield "strd r2, r4, [r0, #4]"
    yield "str r12, [r0, #12]"
    yield "subs r10, r10, #1"
    yield "str r10, [r0, #28]"
    yield "bgt 3b"
    yield "add sp, sp, #8"
    yield "vpop {d8-d15}"
    yield "pop {r0, r4-r11, pc}"


def _keep(shape: Shape, use: _Registers) -> Iterator[str]:
    """Load the chunks of x that stay, and move on behind them."""
    for place, pointer in enumerate(use.x):
        for chunk in range(shape.kept):
            yield f"vldrb.8 q{shape.places * chunk + place}, [{pointer}], #{CHUNK}"


def _block(shape: Shape, use: _Registers) -> Iterator[str]:
    """Some rows of weights: sums, outputs, and the flags of the results still to come."""
    yield _load_many(shape.sums)
    unrolled = shape.kept + shape.streamed - shape.turns * TURN
    yield from _products(shape, use, range(unrolled))
    if shape.turns:
        yield f"mov {use.count}, #{shape.turns}"
        yield "1:"
        yield from _products(shape, use, range(unrolled, unrolled + TURN))
        yield f"subs {use.count}, {use.count}, #1"
        yield "bne 1b"
    if shape.stepped:
        for pointer in use.x:
            yield from _back(pointer, CHUNK * shape.streamed)
    yield from _outputs(shape, use)
    yield f"subs {use.left}, {use.left}, #{len(shape.sums)}"


def _load_many(registers: Sequence[str]) -> str:
    if len(registers) == 1:
        return f"ldr {registers[0]}, [{_STREAM}], #4"
    return f"ldm {_STREAM}!, {{{', '.join(registers)}}}"


def _back(pointer: str, distance: int) -> Iterator[str]:
    """Take a distance off a pointer: 12 bits at once, and the rest in bytes that encode."""
    if distance & 0xFFF:
        yield f"subw {pointer}, {pointer}, #{distance & 0xFFF}"
    for byte in (0xFF000, 0xFF00000):
        if distance & byte:
            yield f"sub {pointer}, {pointer}, #{distance & byte}"


def _products(shape: Shape, use: _Registers, chunks: Iterable[int]) -> Iterator[str]:
    """Multiply and add, each load of weights one step ahead of its use."""
    steps = [(chunk, row) for chunk in chunks for row in range(shape.rows)]
    yield _weights(use, 0)
    for step, (chunk, row) in enumerate(steps):
        if row == 0 and chunk >= shape.kept:
            yield from _chunk(shape, use, chunk)
        if step + 1 < len(steps):
            yield _weights(use, step + 1)
        for place in range(shape.places):
            kept = f"q{shape.places * chunk + place}"
            x = kept if chunk < shape.kept else use.chunk[place]
            total = shape.sums[row * shape.places + place]
            yield f"vmladava.s8 {total}, {x}, {use.weights[step % 2]}"


def _weights(use: _Registers, step: int) -> str:
    return f"vldrb.8 {use.weights[step % 2]}, [{_STREAM}], #{CHUNK}"


def _chunk(shape: Shape, use: _Registers, chunk: int) -> Iterator[str]:
    for pointer, vector in zip(use.x, use.chunk, strict=True):
        if shape.stepped:
            yield f"vldrb.8 {vector}, [{pointer}], #{CHUNK}"
        else:
            yield f"vldrb.8 {vector}, [{pointer}, #{CHUNK * (chunk - shape.kept)}]"


def _outputs(shape: Shape, use: _Registers) -> Iterator[str]:
    """Sums to vectors q5 and q6, requantised, clipped and stored."""
    yield from _gathered(shape)
    if shape.finish == "float32":
        yield from ("vcvt.f32.s32 q5, q5", f"vldrw.32 q7, [{_STREAM}], #16", "vmul.f32 q5, q5, q7")
        yield from ("vctp.32 " + use.left, "vpst", f"vstrwt.32 q5, [{use.y}], #{4 * shape.rows}")
        return
    shift, zero, place = use.constants
    if place >= 0:
        yield f"ldrd {shift}, {zero}, [sp, #{place}]"
    yield from _requantised(shape, shift)
    yield "vqmovnb.s32 q5, q5"
    if len(shape.sums) > 1:
        yield "vqmovnt.s32 q5, q6"
    yield f"vqadd.s16 q5, q5, {zero}"
    yield "vqmovnb.s16 q5, q5"
    yield from _stored(shape, use)


def _gathered(shape: Shape) -> Iterator[str]:
    """Even sums into q5 and odd ones into q6, so that narrowing puts them in order."""
    split = 1 if shape.finish == "float32" else 2
    for half, vector in enumerate(("q5", "q6")[:split]):
        part = shape.sums[half::split]
        for lane in range(min(2, len(part))):
            high = part[lane + 2] if lane + 2 < len(part) else part[lane]
            yield f"vmov {vector}[{lane + 2}], {vector}[{lane}], {part[lane]}, {high}"


def _requantised(shape: Shape, shift: str) -> Iterator[str]:
    vectors = ("q5", "q6")[: len(shape.sums)]
    # Two places have the same channels: one load serves both vectors.
    for group in [vectors] if shape.places == 2 else [(vector,) for vector in vectors]:
        load = f"vldrw.32 q7, [{_STREAM}], #16"
        if shape.finish == "float":
            yield from (f"vcvt.f32.s32 {vector}, {vector}" for vector in group)
            yield load
            yield from (f"vmul.f32 {vector}, {vector}, q7" for vector in group)
            yield from (f"vcvtn.s32.f32 {vector}, {vector}" for vector in group)
            continue
        yield load
        yield from (f"vmulh.s32 {vector}, {vector}, q7" for vector in group)
        if shape.finish == "shifts":
            yield load
            yield from (f"vrshl.s32 {vector}, {vector}, q7" for vector in group)
        else:
            yield from (f"vrshl.s32 {vector}, {shift}" for vector in group)


def _stored(shape: Shape, use: _Registers) -> Iterator[str]:
    """Low bytes of the halfwords: in a row, or scattered to both places by the offsets in q4."""
    if shape.masked:
        yield from (f"vctp.16 {use.left}", "vpst")
    store = "vstrbt.16" if shape.masked else "vstrb.16"
    if shape.places == 1:
        yield f"{store} q5, [{use.y}], #{shape.rows}"
    else:
        yield f"{store} q5, [{use.y}, q4]"
        yield f"add {use.y}, {use.y}, #{shape.rows}"
