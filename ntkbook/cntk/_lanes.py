"""A SIMD value for numba: a fixed number of floats that are loaded, combined and stored together.

LLVM's own vectorizer meets the CNTK's inner loop with half-width registers and reloads what it could
keep. A value of :class:`LanesType` is one LLVM vector instead, so a kernel written with it compiles to
one instruction per operation, on any processor that LLVM knows. The arithmetic operators work lane by
lane; :func:`fma`, :func:`root` and the loads and stores below are the rest of the language.

Arrays are read by a flat offset into their memory, which must be contiguous.
"""

# The compiler infers the types of what it compiles.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from llvmlite.binding import get_host_cpu_features  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, models, overload, register_model

VECTOR_BYTES = 64 if get_host_cpu_features().get("avx512f", False) else 32


def lane_count(dtype: np.dtype[Any]) -> int:
    """Return how many numbers of ``dtype`` one register of this processor holds."""
    return VECTOR_BYTES // dtype.itemsize


def _instruction(definition: Any) -> Any:
    """Register a numba intrinsic; of type Any, since compiled code calls it with other arguments."""
    return intrinsic(definition)


class LanesType(types.Type):
    """The numba type of a vector of ``count`` floats of type ``dtype``."""

    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype = dtype
        self.count = count
        super().__init__(name=f"Lanes({dtype}, {count})")


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):
    """Lanes are LLVM vectors, in memory and in registers."""

    def __init__(self, manager: Any, lanes: LanesType) -> None:
        element = ir.FloatType() if lanes.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, lanes, ir.VectorType(element, lanes.count))


def _of_array(array: Any) -> LanesType:
    return LanesType(array.dtype, lane_count(np.dtype(str(array.dtype))))


def _address(
    context: Any, builder: Any, array: types.Array, value: Any, offset: Any, vector: ir.VectorType
) -> Any:
    data = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _element_bytes(lanes: LanesType) -> int:
    return int(lanes.dtype.bitwidth) // 8


@_instruction
def load(typing_context, array, offset):
    """Read the lanes that start at flat ``offset`` of a contiguous ``array``."""
    lanes = _of_array(array)

    def codegen(context, builder, signature, arguments):
        vector = context.get_value_type(lanes)
        instruction = builder.load(_address(context, builder, array, arguments[0], arguments[1], vector))
        instruction.align = _element_bytes(lanes)
        return instruction

    return lanes(array, types.intp), codegen


@_instruction
def store(typing_context, array, offset, value):
    """Write ``value`` at flat ``offset`` of a contiguous ``array``."""

    def codegen(context, builder, signature, arguments):
        vector = context.get_value_type(value)
        instruction = builder.store(
            arguments[2], _address(context, builder, array, arguments[0], arguments[1], vector)
        )
        instruction.align = _element_bytes(value)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@_instruction
def splat(typing_context, scalar, array):
    """Repeat ``scalar`` in every lane of the kind that ``array`` loads."""
    lanes = _of_array(array)

    def codegen(context, builder, signature, arguments):
        vector = context.get_value_type(lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        index = ir.IntType(32)
        single = builder.insert_element(undefined, arguments[0], index(0))
        mask = ir.Constant(ir.VectorType(index, lanes.count), [0] * lanes.count)
        return builder.shuffle_vector(single, undefined, mask)

    return lanes(lanes.dtype, array), codegen


def _llvm_function(name: str, arity: int) -> Any:
    """Return an intrinsic that applies LLVM's vector function ``name`` to ``arity`` lanes."""

    def call(context, builder, signature, arguments):
        vector = arguments[0].type
        suffix = f"v{vector.count}f{signature.return_type.dtype.bitwidth}"
        kind = ir.FunctionType(vector, [vector] * arity)
        function = builder.module.declare_intrinsic(f"llvm.{name}.{suffix}", (), kind)
        return builder.call(function, arguments)

    return call


@_instruction
def fma(typing_context, a, b, c):
    """Return a * b + c in one instruction, rounded once."""
    return a(a, a, a), _llvm_function("fma", 3)


@_instruction
def root(typing_context, a):
    """Return the square root."""
    return a(a), _llvm_function("sqrt", 1)


@_instruction
def magnitude(typing_context, a):
    """Return the absolute value."""
    return a(a), _llvm_function("fabs", 1)


def polynomial(single: tuple[float, ...], double: tuple[float, ...]) -> Any:
    """Return an intrinsic that evaluates a polynomial, the constant coefficient first, by Horner's rule."""

    @_instruction
    def evaluate(typing_context, a):
        def codegen(context, builder, signature, arguments):
            (value,) = arguments
            multiply_add = _llvm_function("fma", 3)
            terms = [
                ir.Constant(value.type, [c] * a.count) for c in (single if _element_bytes(a) == 4 else double)
            ]
            result = terms[-1]
            for term in reversed(terms[:-1]):
                result = multiply_add(context, builder, a(a, a, a), (result, value, term))
            return result

        return a(a), codegen

    return evaluate


@_instruction
def positive_part(typing_context, a):
    """Return max(a, 0)."""

    def codegen(context, builder, signature, arguments):
        (value,) = arguments
        zero = ir.Constant(value.type, None)
        return builder.select(builder.fcmp_ordered(">", value, zero), value, zero)

    return a(a), codegen


@_instruction
def where_negative(typing_context, a, negative, otherwise):
    """Return ``negative`` in the lanes where a < 0 and ``otherwise`` in the rest."""

    def codegen(context, builder, signature, arguments):
        test, yes, no = arguments
        return builder.select(builder.fcmp_ordered("<", test, ir.Constant(test.type, None)), yes, no)

    return a(a, a, a), codegen


def _arithmetic(instruction: str) -> Any:
    """Return an intrinsic for one of LLVM's binary floating-point instructions."""

    @_instruction
    def apply(typing_context, a, b):
        def codegen(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments)

        return a(a, b), codegen

    return apply


_add, _sub, _mul = _arithmetic("fadd"), _arithmetic("fsub"), _arithmetic("fmul")


@overload(operator.add)
def _overload_add(a, b):
    if isinstance(a, LanesType) and a == b:
        return lambda a, b: _add(a, b)
    return None


@overload(operator.sub)
def _overload_sub(a, b):
    if isinstance(a, LanesType) and a == b:
        return lambda a, b: _sub(a, b)
    return None


@overload(operator.mul)
def _overload_mul(a, b):
    if isinstance(a, LanesType) and a == b:
        return lambda a, b: _mul(a, b)
    return None
