"""Expressions in the coordinates of Lagrangians: names expanded to them, derivatives, and the cheaper form.

To a Lagrangian a symbol is a coordinate, its rate or its acceleration; or it moves without them; or it is fixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from dpl.compiler.algebra import ZERO, Expr, Sizes, Symbol, number, sp, symbols_in, weights_of
from dpl.compiler.fourier import Fourier
from dpl.compiler.motion import differentiated
from dpl.compiler.operations import distinct_cost
from dpl.compiler.symbolic import MOST_NODES, Translator
from dpl.compiler.trigonometry import unfolded
from dpl.language import syntax
from dpl.language.change import varying
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import System, Variable


class Coordinates:
    """The symbols of one system as its Lagrangians see them, and the calculus and algebra of expressions in them."""

    def __init__(self, system: System, translator: Translator):
        self.system, self.translator = system, translator
        self._varying = varying(system.whole or system) | {c.force for c in system.constraints}
        self._weights = {weights_of(path) for path in translator.networks}
        self._records = {v.path for v in self._varying if v.record is not None}
        structure = translator.structure
        moved = {v for v, order in structure.matching if order > 0}
        self.orders = {  # of each coordinate, its rate and its acceleration
            translator.symbol(v, k): (v, k)
            for lagrangian in system.lagrangians
            for v in lagrangian.coordinates
            if v not in moved
            for k in (0, 1, 2)
        }
        self._expanded: dict[Symbol, Expr] = {}
        self._fixed: dict[Expr, bool] = {}
        self._size = Sizes()
        self.fourier = Fourier(self.fixed)
        """Renewed for every Lagrangian, for it has a budget"""

    @cached_property
    def consts(self) -> dict[Symbol, Expr]:
        """The numbers that never vary."""
        found = [v for v in self.system.variables if v.kind == "const" and v.folded is not None]
        return {self.translator.symbol(v): number(v.folded) for v in found if v.folded is not None}

    def is_coordinate(self, variable: Variable) -> bool:
        return self.translator.symbol(variable) in self.orders

    def fixed(self, expr: Expr) -> bool:
        """Whether an expression stays during a run."""
        if expr.is_Symbol:
            if expr not in self._fixed:
                self._fixed[expr] = self._is_fixed(expr)
            return self._fixed[expr]
        if expr not in self._fixed:
            self._fixed[expr] = all(map(self.fixed, symbols_in(expr)))
        return self._fixed[expr]

    def _is_fixed(self, found: Symbol) -> bool:
        variable, order = self.translator.quantities.get(found, (None, 0))
        if variable is None or found in self.orders:
            return found in self._weights
        return order == 0 and variable not in self._varying and variable.path.rpartition(".")[0] not in self._records

    # ------------------------------------------------------------ expansion

    def expanded(self, expr: Expr, at: syntax.Expr) -> Expr:
        """The expression in coordinates and their rates: every name that depends on them replaced by its value."""
        result = expr.xreplace({s: self._value(s, at) for s in expr.free_symbols})
        if self._size(result) > MOST_NODES:
            message = "this expression is too large once the values of its names stand in it"
            raise CompileError([Diagnostic("too-large", message, Label(at.span))])
        return result

    def _value(self, found: Symbol, at: syntax.Expr) -> Expr:
        """The symbol's value if it depends on coordinates, else the symbol."""
        if found in self.orders or self.fixed(found) or found not in self.translator.quantities:
            return found
        if found not in self._expanded:
            self._expanded[found] = found  # met again: a circle, which the solver reports
            value = self._definition(found, at)
            if value is not None:
                value = self.expanded(value, at)
                self._expanded[found] = value if self._depends(value) else found
        return self._expanded[found]

    def _depends(self, expr: Expr) -> bool:
        return any(s in self.orders for s in symbols_in(expr))

    def _definition(self, found: Symbol, at: syntax.Expr) -> Expr | None:
        """What a moving name equals; None for states, and for what is set from outside or held by a clock."""
        variable, order = self.translator.quantities[found]
        if variable.kind == "state" or variable.clock is not None:
            return None
        if order > 0:
            value = self.translator.motion.definition(found)
        elif variable.value is not None:
            return self.translator.value_of(variable)
        else:
            value = self._given(variable)
        if value is None and variable.kind != "input":
            raise CompileError([_implicit(found, variable, at)])
        return value

    def _given(self, variable: Variable) -> Expr | None:
        """The value of a name without one that is alone on the left side of its equation."""
        equation = self.translator.structure.matching.get((variable, 0))
        if equation is None or self.translator.scoped(equation.left) != self.translator.symbol(variable):
            return None
        return self.translator.scoped(equation.right)

    # ------------------------------------------------------------ calculus and algebra

    def along(self, expr: Expr, at: syntax.Expr) -> Expr:
        """d/dt of an expanded expression while no rate of a coordinate changes."""

        def rate(found: Symbol) -> Expr:
            if found not in self.orders:
                return ZERO if self.fixed(found) else self.translator.motion.rate(found, at)
            variable, order = self.orders[found]
            return self.translator.symbol(variable, 1) if order == 0 else ZERO

        return differentiated(expr, rate, at)

    def cost(self, exprs: Iterable[Expr]) -> int:
        return distinct_cost(unfolded(list(exprs), self.fixed), self.fixed)

    def canonical(self, expr: Expr) -> Expr:
        """The terms that hold sines and cosines in canonical form, the others as they are."""
        terms = sp.Add.make_args(expr)
        waves = [t for t in terms if any(not self.fixed(c) for c in t.atoms(sp.sin, sp.cos))]
        if not waves:
            return expr
        return sp.Add(*(t for t in terms if t not in waves), self.fourier.canonical(sp.Add(*waves)))

    def tidy(self, expr: Expr) -> Expr:
        """The expression in canonical form where that is no dearer."""
        return min((self.canonical(expr), _signed(expr)), key=lambda e: distinct_cost([e], self.fixed))


def _signed(expr: Expr) -> Expr:
    """The expression with the signs of sums before their products: -(-a - b)*(a + b) is (a + b)²."""
    if isinstance(expr, sp.Add):
        return sp.Add(*map(_signed, expr.args))
    if not isinstance(expr, sp.Mul):
        return expr
    turned = [isinstance(a, sp.Add) and a.could_extract_minus_sign() for a in expr.args]
    sign = -1 if sum(turned) % 2 else 1
    return sp.Mul(sign, *(-a if t else a for a, t in zip(expr.args, turned, strict=True)))


def _implicit(found: Symbol, variable: Variable, at: syntax.Expr) -> Diagnostic:
    message = f"how `{found.name}` depends on the coordinates is not known: no value says what it equals"
    help_text = f"write `{variable.kind} {variable.declaration.name} = …` with an expression of the coordinates"
    return Diagnostic("no-derivative", message, Label(at.span, "read here"), help=help_text)
