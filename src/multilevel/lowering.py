"""Eight numbers at once, as numba is to compile them; loaded with numba when something is compiled.

Compilers do not find this out by themselves, as they cannot tell that two arrays do not overlap.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed, impl_ret_new_ref
from numba.core.typeconv import Conversion
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model
from numba.np.arrayobj import make_array, populate_array

from multilevel.lanes import WIDTH

_VECTOR = ir.VectorType(ir.DoubleType(), WIDTH)


class Lanes(types.Type):  # type: ignore[misc]
    """Type of eight floats side by side; a float becomes one by repetition."""

    def can_convert_from(self, _: Any, other: Any) -> Any:
        """Let plain numbers take part."""
        return Conversion.safe if other == types.float64 else None


LANES = Lanes("lanes")


register_model(Lanes)(lambda manager, kind: models.PrimitiveModel(manager, kind, _VECTOR))


@lower_cast(types.float64, LANES)  # type: ignore[untyped-decorator]
def _repeat(_: Any, builder: Any, __: Any, ___: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.IntType(32)(0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(one, one, places)


def _root(builder: Any, value: Any) -> Any:
    form, name = ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.sqrt.v{WIDTH}f64"
    return builder.call(cgutils.get_or_insert_function(builder.module, form, name), [value])


def _larger(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", one, other), other, one)


def _offer(operation: Any, instruct: Callable[..., Any], operands: int = 2) -> None:
    """Let an operation of Python mean an instruction of the compiler's."""
    kinds = [LANES] * operands
    infer_global(operation)(type("", (ConcreteTemplate,), {"cases": [signature(LANES, *kinds)]}))
    lower_builtin(operation, *kinds)(lambda _, builder, __, args: instruct(builder, *args))


_offer(operator.add, ir.IRBuilder.fadd)
_offer(operator.iadd, ir.IRBuilder.fadd)
_offer(operator.sub, ir.IRBuilder.fsub)
_offer(operator.isub, ir.IRBuilder.fsub)
_offer(operator.mul, ir.IRBuilder.fmul)
_offer(operator.truediv, ir.IRBuilder.fdiv)
_offer(max, _larger)
_offer(math.sqrt, _root, 1)


@intrinsic  # type: ignore[untyped-decorator]
def _side_by_side(_: Any, array: Any) -> Any:
    """View an array of floats, eight along the last axis, as one of lanes."""
    kind = types.Array(LANES, array.ndim - 1, "C", aligned=False)

    def lowered(context: Any, builder: Any, call: Any, args: Any) -> Any:
        source = make_array(array)(context, builder, args[0])
        out = make_array(kind)(context, builder)
        shape = cgutils.unpack_tuple(builder, source.shape)[:-1]
        strides = cgutils.unpack_tuple(builder, source.strides)[:-1]
        data = builder.bitcast(source.data, out.data.type)
        size = context.get_constant(types.intp, 8 * WIDTH)
        populate_array(out, data, shape, strides, size, source.meminfo)
        return impl_ret_borrowed(context, builder, call.return_type, out._getvalue())

    return kind(array), lowered


def _maker(part: Any) -> Any:
    """Make a function that makes an array of zeros; NumPy's takes many times as long to compile."""

    @intrinsic  # type: ignore[untyped-decorator]
    def function(_: Any, shape: Any) -> Any:
        kind = types.Array(part, len(shape), "C")

        def lowered(context: Any, builder: Any, _: Any, args: Any) -> Any:
            out, sizes = make_array(kind)(context, builder), cgutils.unpack_tuple(builder, args[0])
            strides = [context.get_constant(types.intp, 8 * (WIDTH if part is LANES else 1))]
            for size in sizes[::-1]:
                strides.insert(0, builder.mul(strides[0], size))
            room = context.nrt.meminfo_alloc_aligned(builder, strides[0], 64)
            data = context.nrt.meminfo_data(builder, room)
            cgutils.memset(builder, data, strides[0], 0)
            data = builder.bitcast(data, out.data.type)
            populate_array(out, data, sizes, strides[1:], strides[-1], room)
            return impl_ret_new_ref(context, builder, kind, out._getvalue())

        return kind(shape), lowered

    return function


def _folded(fold: Callable[..., Any]) -> Any:
    """Make a function that folds the parts of a number, two at a time."""

    @intrinsic  # type: ignore[untyped-decorator]
    def function(_: Any, value: Any) -> Any:
        def lowered(_: Any, builder: Any, __: Any, args: Any) -> Any:
            parts = [builder.extract_element(args[0], ir.IntType(32)(i)) for i in range(WIDTH)]
            while len(parts) > 1:
                parts = [fold(builder, *parts[i : i + 2]) for i in range(0, len(parts), 2)]
            return parts[0]

        return types.float64(LANES), lowered

    return function


#: What these names of `lanes` mean in functions that are compiled.
COMPILED = {
    "side_by_side": _side_by_side,
    "zeros": _maker(types.float64),
    "zero_lanes": _maker(LANES),
    "total": _folded(ir.IRBuilder.fadd),
    "product": _folded(ir.IRBuilder.fmul),
}
