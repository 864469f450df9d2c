"""Time derivatives along the motion of a system: `e'` of whatever the equations determine.

The derivative of a definition is a definition; the derivative of what an equation determines is determined by the
derivative of that equation. Both are made on demand and kept as relations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dpl.compiler.algebra import ONE, TIME, ZERO, Expr, Symbol, by_name, function_name, opaque, sp
from dpl.compiler.structure import Relation
from dpl.language import syntax
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import Variable

if TYPE_CHECKING:
    from dpl.compiler.symbolic import Translator


class Motion:
    """The derivatives that the equations of one system ask for."""

    def __init__(self, translator: Translator):
        self._translator = translator
        self._relations: dict[Symbol, Relation | None] = {}

    def relations(self) -> list[Relation]:
        """What determines the derivatives asked for so far, beyond the equations themselves."""
        found = [r for r in self._relations.values() if r is not None]
        implicit = tuple(s for s, r in self._relations.items() if r is not None and r.target is None)
        return [r if r.target is not None else Relation(r.left, r.right, r.span, None, implicit) for r in found]

    def derivative(self, variable: Variable, order: int, at: syntax.Expr) -> Expr:
        """The derivative of that order of a variable: a symbol, or 0 for what stays."""
        translator = self._translator
        if order == 0:
            return translator.symbol(variable)
        if variable.clock is not None or variable.kind in ("param", "given", "const"):
            return ZERO
        found = translator.symbol(variable, order)
        if variable.kind == "state" and order <= translator.structure.orders[variable]:
            return found
        if found not in self._relations:
            self._relations[found] = None  # met again while being made: a circle, which the solver resolves
            self._relations[found] = self._differentiated(variable, order, found, at)
        return found

    def _differentiated(self, variable: Variable, order: int, found: Symbol, at: syntax.Expr) -> Relation:
        translator = self._translator
        if variable.kind != "state" and variable.value is not None:
            value = translator.value_of(variable)
            for _ in range(order - 1):
                value = self.along(value, at)
            return Relation(found, self.along(value, at), at.span, found)
        known = translator.structure.orders[variable] if variable.kind == "state" else 0
        equation = translator.structure.matching[variable, known]
        left, right = translator.scoped(equation.left), translator.scoped(equation.right)
        for _ in range(order - known):
            left, right = self.along(left, at), self.along(right, at)
        return Relation(left, right, at.span, None, (found,))

    # ------------------------------------------------------------ calculus

    def along(self, expr: Expr, at: syntax.Expr) -> Expr:
        """d/dt of an expression; `at` is the text that asks."""
        known: dict[Expr, Expr] = {}

        def rate(e: Expr) -> Expr:
            if e not in known:
                known[e] = self._rate(e, at, rate)
            return known[e]

        return rate(expr)

    def _rate(self, expr: Expr, at: syntax.Expr, rate: Callable[[Expr], Expr]) -> Expr:
        if expr == TIME:
            return ONE
        if expr.is_Symbol:
            quantity = self._translator.quantities.get(expr)
            return self.derivative(quantity[0], quantity[1] + 1, at) if quantity else ZERO
        if not expr.args:
            return ZERO
        if isinstance(expr, sp.Add):
            return sp.Add(*map(rate, expr.args))
        rates = [rate(a) for a in expr.args]
        if all(r == 0 for r in rates):
            return ZERO
        if isinstance(expr, sp.Mul):
            return sp.Add(*(_with(expr, i, r) for i, r in enumerate(rates) if r != 0))
        return self._chain(expr, rates, at)

    def _chain(self, expr: Expr, rates: Sequence[Expr], at: syntax.Expr) -> Expr:
        """The derivative of a power or of a function of moving arguments."""
        name, args = function_name(expr), expr.args
        if name in ("array", "choose"):
            fixed = args[:1] if name == "choose" else ()
            return opaque(name)(*fixed, *rates[len(fixed) :])
        if name in ("element", "sum", "mean", "transpose"):
            return opaque(name)(rates[0], *args[1:])
        if name in ("dot", "matmul"):
            return sp.Add(*(_with(expr, i, r) for i, r in enumerate(rates) if r != 0))
        if isinstance(expr, sp.Pow):
            slopes = (args[1] * sp.Pow(args[0], args[1] - 1), expr * sp.log(args[0]) if rates[1] != 0 else ZERO)
        elif name in SLOPES:
            slopes = SLOPES[name](*args)
        elif name in SYMPY_FUNCTIONS:
            slopes = (expr.fdiff(1),)
        else:
            what = "of a network" if name.startswith("network ") or name == "result" else f"through `{name}`"
            message = f"the time derivative {what} is not supported"
            raise CompileError([Diagnostic("no-derivative", message, Label(at.span, "differentiated here"))])
        return sp.Add(*(s * r for s, r in zip(slopes, rates, strict=False) if r != 0))


def _with(expr: Expr, position: int, argument: Expr) -> Expr:
    """The expression with one argument replaced."""
    return expr.func(*(argument if i == position else a for i, a in enumerate(expr.args)))


def _where(name: str, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """1 for the argument for which the comparison holds, 0 for the other."""
    condition = opaque(name)(a, b)
    return opaque("choose")(condition, ONE, ZERO), opaque("choose")(condition, ZERO, ONE)


def _sigmoid_slope(x: Expr) -> tuple[Expr]:
    share = opaque("sigmoid")(x)
    return (share * (1 - share),)


def _clip_slope(x: Expr, low: Expr, high: Expr) -> tuple[Expr]:
    inside = opaque("and")(opaque("less")(low, x), opaque("less")(x, high))
    return (opaque("choose")(inside, ONE, ZERO),)


def _hypot_slopes(x: Expr, y: Expr) -> tuple[Expr, Expr]:
    length = opaque("hypot")(x, y)
    return x / length, y / length


def _atan2_slopes(y: Expr, x: Expr) -> tuple[Expr, Expr]:
    return x / (x**2 + y**2), -y / (x**2 + y**2)


def _flat(x: Expr) -> tuple[Expr]:
    return (ZERO,)


def _slopes_of_one() -> dict[str, Callable[[Expr], Expr]]:
    return {
        **{name: lambda x: ZERO for name in ("sign", "floor", "ceil", "round", "step")},
        "abs": lambda x: opaque("sign")(x),
        "Abs": lambda x: opaque("sign")(x),
        "wrap": lambda x: ONE,
        "log10": lambda x: 1 / (x * sp.log(10)),
        "log2": lambda x: 1 / (x * sp.log(2)),
        "cbrt": lambda x: opaque("cbrt")(x) / (3 * x),
        "relu": lambda x: opaque("step")(x),
        "softplus": lambda x: opaque("sigmoid")(x),
        "sigmoid": lambda x: opaque("sigmoid")(x) * (1 - opaque("sigmoid")(x)),
        "erf": lambda x: 2 / sp.sqrt(sp.pi) * sp.exp(-(x**2)),
    }


SLOPES: dict[str, Callable[..., tuple[Expr, ...]]] = {
    "hypot": _hypot_slopes,
    "atan2": _atan2_slopes,
    "clip": _clip_slope,
    "straight_through": lambda value, gradient: (ZERO, ONE),
    "min": lambda a, b: _where("less", a, b),
    "max": lambda a, b: _where("greater", a, b),
}
"""Partial derivatives of the opaque functions"""
