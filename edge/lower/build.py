"""Builds a program operation by operation."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from edge.lower.layout import move
from edge.lower.symbols import (
    Clipped,
    Coded,
    Elementwise,
    Known,
    Pending,
    Real,
    Symbol,
    View,
    Weights,
    whole,
)
from edge.program import (
    Dequantize,
    DType,
    FloatGather,
    Operation,
    Program,
    Quantize,
    Reshape,
    Transpose,
    Value,
)
from firnline.errors import HandshakeError


class Builder:
    """Values and operations so far.

    Attributes:
        values: By name.
        operations: In order.
    """

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.operations: list[Operation] = []
        self._names: set[str] = set()
        self._laid: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._reals: dict[str, str] = {}

    def name(self, wanted: str) -> str:
        """An operation's name that no other has."""
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted}/{count}"
        self._names.add(name)
        return name

    def value(
        self, wanted: str, shape: tuple[int, ...], dtype: DType, scale: float = 0.0, zero: int = 0
    ) -> str:
        """A new value; its name is the wanted one, or that with a number."""
        name, count = wanted, 1
        while name in self.values:
            count += 1
            name = f"{wanted}/{count}"
        self.values[name] = Value(name, shape, dtype, scale, zero)
        return name

    def like(self, source: str, shape: tuple[int, ...], wanted: str) -> str:
        """A new value of the dtype, scale and zero of another."""
        given = self.values[source]
        return self.value(wanted, shape, given.dtype, given.scale, given.zero)

    def add(self, step: Operation) -> str:
        """Append an operation; gives the name of what it makes."""
        self.operations.append(step)
        return step.output

    def maker(self, name: str) -> Operation | None:
        """The operation that makes a value; None for an input."""
        return next((step for step in self.operations if step.output == name), None)

    def reshaped(self, name: str, shape: tuple[int, ...]) -> str:
        """The same elements in another shape."""
        if self.values[name].shape == shape:
            return name
        return self.laid(View(name, whole(name, shape)), shape)

    def laid(self, view: View, shape: tuple[int, ...]) -> str:
        """A value of the program whose elements are those of a view, in its order.

        Args:
            view: What is needed.
            shape: The value's.

        Raises:
            HandshakeError: E20, elements of int8 were picked or repeated, which no operation does.
        """
        if self._in_place(view) and self.values[view.name].shape == shape:
            return view.name
        key = (view.name, shape, view.places.tobytes())
        if key not in self._laid:
            self._laid[key] = self._moved(view, shape)
        return self._laid[key]

    def can_turn(self, view: View) -> bool:
        """Whether a view's elements are all of its value's, in its order or transposed."""
        return self._in_place(view) or move(view.places, self.values[view.name].shape) is not None

    def _in_place(self, view: View) -> bool:
        flat = view.places.ravel()
        return flat.size == self.values[view.name].size and bool((np.diff(flat) == 1).all())

    def _moved(self, view: View, shape: tuple[int, ...]) -> str:
        if self._in_place(view):
            return self._reshape(view.name, shape)
        found = move(view.places, self.values[view.name].shape)
        if found is None:
            return self._picked(view, shape)
        made = self.like(
            view.name, tuple(found.shape[axis] for axis in found.order), f"{view.name}/moved"
        )
        source = self.reshaped(view.name, found.shape)
        self.add(Transpose(self.name(made), (source,), made, found.order))
        return self.reshaped(made, shape)

    def _reshape(self, name: str, shape: tuple[int, ...]) -> str:
        made = self.like(name, shape, f"{name}/reshaped")
        return self.add(Reshape(self.name(made), (name,), made))

    def _picked(self, view: View, shape: tuple[int, ...]) -> str:
        value = self.values[view.name]
        if value.dtype == "int8" and len(set(view.places.ravel().tolist())) == value.size:
            return self._reordered(view, shape)
        if value.dtype != "float32":
            raise HandshakeError(
                "E20",
                found=f"elements of the {value.dtype} value are picked, repeated or reordered",
                where=f"value {view.name!r}",
                mend="gather, slice or split in float, before the first QuantizeLinear, or put a "
                "dense layer right behind, which takes it into its weights",
            )
        flat = self.reshaped(view.name, (value.size,))
        made = self.value(f"{view.name}/picked", (view.places.size,), "float32")
        places = tuple(int(place) for place in view.places.ravel())
        self.add(FloatGather(self.name(made), (flat,), made, places))
        return self.reshaped(made, shape)

    def _reordered(self, view: View, shape: tuple[int, ...]) -> str:
        """Int8 in an order that no transposition makes: through float32, which changes none."""
        held = self._picked(Real(self._dequantized(view.name), view.places), shape)
        made = self.like(view.name, shape, f"{view.name}/reordered")
        return self.add(Quantize(self.name(made), (held,), made))

    def real(self, symbol: Symbol, where: str) -> Real:
        """A symbol in float32.

        Raises:
            HandshakeError: E20, it stands for no real numbers, or for a constant.
        """
        match symbol:
            case Real():
                return symbol
            case Coded():
                return Real(self._dequantized(symbol.name), symbol.places)
            case Elementwise() | Pending() | Clipped():
                return symbol.real()
            case Known() | Weights():
                found = "a constant where a value is expected"
            case _:
                found = "whole numbers or truth values where real numbers are expected"
        raise HandshakeError(
            "E20",
            found=found,
            where=f"node {where!r}",
            mend="fold constants, and keep whole numbers to ArgMax at the end",
        )

    def _dequantized(self, name: str) -> str:
        if name not in self._reals:
            value = self.values[name]
            made = self.value(f"{name}/real", value.shape, "float32")
            self._reals[name] = self.add(Dequantize(self.name(made), (name,), made))
        return self._reals[name]

    def standard(self, view: View) -> str:
        """A value of the program laid out as the ONNX value is; a single number has shape [1]."""
        return self.laid(view, view.shape or (1,))

    def program(self, name: str, inputs: Iterable[str], outputs: dict[str, View]) -> Program:
        """The program, without what no output needs.

        Args:
            name: A C identifier.
            inputs: Names of its inputs; each stays, needed or not.
            outputs: Name of every output -> what it is.
        """
        inputs = tuple(inputs)
        renamed: dict[str, str] = {}
        for output, view in outputs.items():
            laid = self.standard(view)
            if laid in inputs or laid in renamed:
                laid = self._reshape(laid, self.values[laid].shape)
            renamed[laid] = output
        for name_, output in list(renamed.items()):
            if output in self.values and output not in renamed and output != name_:
                renamed[output] = self._free(f"{output}/inner")
        steps = _needed(self.operations, set(renamed))
        names = {name_: renamed.get(name_, name_) for name_ in self.values}
        kept = {*inputs, *(step.output for step in steps)}
        values = [self.values[name_] for name_ in (*inputs, *(step.output for step in steps))]
        return Program(
            name,
            inputs,
            tuple(outputs),
            {names[value.name]: replace(value, name=names[value.name]) for value in values},
            tuple(
                replace(
                    step,
                    inputs=tuple(names[name_] for name_ in step.inputs if name_ in kept),
                    output=names[step.output],
                )
                for step in steps
            ),
        )

    def _free(self, wanted: str) -> str:
        while wanted in self.values:
            wanted += "/"
        return wanted


def _needed(steps: list[Operation], wanted: set[str]) -> list[Operation]:
    """The operations that wanted values depend on."""
    needed, kept = set(wanted), []
    for step in reversed(steps):
        if step.output in needed:
            kept.append(step)
            needed.update(step.inputs)
    return kept[::-1]
