"""Time derivatives along the motion of a system: `e'` of whatever the equations determine.

The derivative of a definition is a definition; the derivative of what an equation determines is determined by the
derivative of that equation. Both are made on demand and kept as relations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dpl.compiler.algebra import ONE, SYMPY_FUNCTIONS, TIME, ZERO, Expr, Symbol, function_name, opaque, sp
from dpl.compiler.arrays import is_pieces
from dpl.compiler.lookups import lookup_of, slope
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

    def definition(self, symbol: Symbol) -> Expr | None:
        """What a derivative that was asked for equals; None where an equation determines it together with others."""
        relation = self._relations.get(symbol)
        return relation.right if relation is not None and symbol in (relation.target, relation.left) else None

    def derivative(self, variable: Variable, order: int, at: syntax.Expr) -> Expr:
        """The derivative of that order of a variable: a symbol, or 0 for what stays."""
        translator = self._translator
        if order == 0:
            return translator.symbol(variable)
        if variable.clock is not None or variable.kind in ("param", "given", "const"):
            return ZERO
        if variable.kind == "column":
            value = translator.signal(variable)
            for _ in range(order):
                value = self.along(value, at)
            return value
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
        equation = translator.structure.matching.get((variable, known))
        if equation is None:
            name = variable.path + "'" * known
            raise no_derivative(
                f"the time derivative of `{name}` is not known: no equation of the text gives `{name}`", at
            )
        left, right = translator.scoped(equation.left), translator.scoped(equation.right)
        for _ in range(order - known):
            left, right = self.along(left, at), self.along(right, at)
        return Relation(left, right, at.span, None, (found,))

    def along(self, expr: Expr, at: syntax.Expr) -> Expr:
        """d/dt of an expression; `at` is the text that asks."""
        return differentiated(expr, lambda symbol: self.rate(symbol, at), at)

    def rate(self, symbol: Symbol, at: syntax.Expr) -> Expr:
        """d/dt of a symbol."""
        if symbol == TIME:
            return ONE
        quantity = self._translator.quantities.get(symbol)
        return self.derivative(quantity[0], quantity[1] + 1, at) if quantity else ZERO


# ---------------------------------------------------------------- calculus


def partial(expr: Expr, symbol: Symbol, at: syntax.Expr) -> Expr:
    """The derivative to one symbol while all others stay."""
    return differentiated(expr, lambda other: ONE if other == symbol else ZERO, at)


def differentiated(expr: Expr, rate_of: Callable[[Symbol], Expr], at: syntax.Expr) -> Expr:
    """The derivative of an expression whose symbols have these derivatives; `at` is the text that asks.

    Raises:
        CompileError: something in it has no derivative that the compiler knows.
    """
    known: dict[Expr, Expr] = {}

    def rate(e: Expr) -> Expr:
        if e not in known:
            known[e] = _rate(e, rate_of, at, rate)
        return known[e]

    return rate(expr)


def _rate(expr: Expr, rate_of: Callable[[Symbol], Expr], at: syntax.Expr, rate: Callable[[Expr], Expr]) -> Expr:
    if expr.is_Symbol:
        return rate_of(expr)
    if not expr.args:
        return ZERO
    if isinstance(expr, sp.Add):
        return sp.Add(*map(rate, expr.args))
    rates = [rate(a) for a in expr.args]
    if all(r == 0 for r in rates):
        return ZERO
    if isinstance(expr, sp.Mul):
        return sp.Add(*(_with(expr, i, r) for i, r in enumerate(rates) if r != 0))
    return _chain(expr, rates, at)


def _chain(expr: Expr, rates: Sequence[Expr], at: syntax.Expr) -> Expr:
    """The derivative of a power or of a function of moving arguments."""
    name, args = function_name(expr), expr.args
    if name in ("array", "choose"):
        fixed = args[:1] if name == "choose" else ()
        return opaque(name)(*fixed, *rates[len(fixed) :])
    if name == "pick":  # between two decisions only the values move
        return opaque(name)(args[0], rates[1], args[2]) if rates[1] != 0 else ZERO
    if name in ("sum", "mean", "transpose") or name.startswith("element "):
        return opaque(name)(rates[0])
    if name in ("at", "each", "sum over", "mean over"):
        return _with(expr, 0, rates[0])
    if is_pieces(expr):
        return expr.func(*rates)
    if name in ("dot", "matmul", "conv"):
        return sp.Add(*(_with(expr, i, r) for i, r in enumerate(rates) if r != 0))
    if name == "norm":
        return opaque("dot")(args[0], rates[0]) / expr
    if lookup_of(expr) is not None:
        return slope(expr) * rates[1]
    slopes = _slopes(name, expr, moving=rates[-1] != 0)
    if slopes is None:
        what = "of a network" if name.startswith("network ") or name == "result" else f"through `{name}`"
        raise no_derivative(f"the derivative {what} is not supported", at)
    return sp.Add(*(s * r for s, r in zip(slopes, rates, strict=False) if r != 0))


def no_derivative(message: str, at: syntax.Expr) -> CompileError:
    return CompileError([Diagnostic("no-derivative", message, Label(at.span, "differentiated here"))])


def _with(expr: Expr, position: int, argument: Expr) -> Expr:
    """The expression with one argument replaced."""
    return expr.func(*(argument if i == position else a for i, a in enumerate(expr.args)))


# ---------------------------------------------------------------- partial derivatives


def _slopes(name: str, expr: Expr, *, moving: bool) -> tuple[Expr, ...] | None:
    """The partial derivatives to the arguments; of a power that to the exponent only where it is `moving`."""
    args = expr.args
    if isinstance(expr, sp.Pow):
        return args[1] * sp.Pow(args[0], args[1] - 1), expr * sp.log(args[0]) if moving else ZERO
    if name in _ONE_ARGUMENT:
        return (_ONE_ARGUMENT[name](args[0]),)
    if name in _MORE_ARGUMENTS:
        return _MORE_ARGUMENTS[name](args)
    return (expr.fdiff(1),) if name in SYMPY_FUNCTIONS else None


def _indicator(name: str, a: Expr, b: Expr) -> Expr:
    """1 where the comparison holds, else 0."""
    return opaque("choose")(opaque(name)(a, b), ONE, ZERO)


def _inside(x: Expr, low: Expr, high: Expr) -> Expr:
    condition = opaque("and")(opaque("less")(low, x), opaque("less")(x, high))
    return opaque("choose")(condition, ONE, ZERO)


_ONE_ARGUMENT: dict[str, Callable[[Expr], Expr]] = {
    "sign": lambda x: ZERO,
    "floor": lambda x: ZERO,
    "ceil": lambda x: ZERO,
    "round": lambda x: ZERO,
    "step": lambda x: ZERO,
    "wrap": lambda x: ONE,
    "abs": lambda x: opaque("sign")(x),
    "Abs": lambda x: opaque("sign")(x),
    "log10": lambda x: 1 / (x * sp.log(10)),
    "log2": lambda x: 1 / (x * sp.log(2)),
    "cbrt": lambda x: 1 / (3 * opaque("cbrt")(x) ** 2),
    "relu": lambda x: opaque("step")(x),
    "softplus": lambda x: opaque("sigmoid")(x),
    "sigmoid": lambda x: opaque("sigmoid")(x) * (1 - opaque("sigmoid")(x)),
    "erf": lambda x: 2 / sp.sqrt(sp.pi) * sp.exp(-(x**2)),
}
_MORE_ARGUMENTS: dict[str, Callable[[Sequence[Expr]], tuple[Expr, ...]]] = {
    "hypot": lambda a: (a[0] / opaque("hypot")(*a), a[1] / opaque("hypot")(*a)),
    "atan2": lambda a: (a[1] / (a[0] ** 2 + a[1] ** 2), -a[0] / (a[0] ** 2 + a[1] ** 2)),
    "clip": lambda a: (_inside(*a), _indicator("greater", a[1], a[0]), _indicator("greater", a[0], a[2])),
    "min": lambda a: (_indicator("less", *a), 1 - _indicator("less", *a)),
    "max": lambda a: (_indicator("greater", *a), 1 - _indicator("greater", *a)),
    "mod": lambda a: (ONE, -opaque("floor")(a[0] / a[1])),
    "huber": lambda a: (opaque("clip")(a[0], -a[1], a[1]), opaque("relu")(opaque("abs")(a[0]) - a[1])),
    "straight_through": lambda a: (ZERO, ONE),
}
