"""What stands after `~`: priors of params and givens, what noises are drawn from, how observations are distributed."""

from __future__ import annotations

from abc import abstractmethod

from dpl.language import syntax
from dpl.language.builtins import DISTRIBUTIONS, Distribution
from dpl.language.constants import literal
from dpl.language.diagnostics import did_you_mean
from dpl.language.model import Observation, Scoped, Variable
from dpl.language.networks import Networks
from dpl.language.units import AFFINE, PURE


class Distributions(Networks):
    """Distributions and their arguments."""

    @abstractmethod
    def fits(self, variable: Variable, value: Scoped, role: str) -> None:
        """`value` must be of the variable's dimension; a bare literal is in its declared unit."""

    def distribution(self, expr: syntax.Expr) -> Distribution | None:
        """The row of a distribution's call; what is none is reported."""
        if not isinstance(expr, syntax.Call) or not isinstance(expr.function, syntax.Name):
            help_text = None
            if isinstance(expr, syntax.Name) and expr.id in DISTRIBUTIONS:
                help_text = f"write `{expr.id}({', '.join(name for name, _ in DISTRIBUTIONS[expr.id].arguments)})`"
            message = "after `~` stands a distribution"
            label = f"is none of {', '.join(DISTRIBUTIONS)}"
            self.report("not-a-distribution", message, expr.span, label, help=help_text)
            return None
        name = expr.function.id
        if name not in DISTRIBUTIONS:
            help_text = did_you_mean(name, DISTRIBUTIONS) or f"there are {', '.join(DISTRIBUTIONS)}"
            message = f"there is no distribution `{name}`"
            self.report("unknown-distribution", message, expr.function.span, "named here", help=help_text)
            return None
        return DISTRIBUTIONS[name]

    def prior(self, variable: Variable, prior: syntax.Expr) -> None:
        row = self.distribution(prior)
        if row is None:
            return
        assert isinstance(prior, syntax.Call)
        scope = variable.value.scope if variable.noise and variable.value else variable.scope
        if variable.noise and row.standard is None:
            self.report(
                "unfit-distribution",
                f"`{row.name}` does not move and stretch standard draws, which a noise needs for its derivatives",
                prior.function.span,
                "drawn from here",
                help=f"a noise is drawn from {', '.join(n for n, r in DISTRIBUTIONS.items() if r.standard)}",
            )
        names = [name for name, _ in row.arguments]
        for name, argument in self.arranged(prior.arguments, names, prior.span, row.name, optional=0).items():
            in_unit = dict(row.arguments)[name]
            if in_unit:
                self.fits(variable, Scoped(argument, scope, variable.unit), "distribution")
            else:
                self.must_be_pure(self.infer(argument, scope), argument.span, f"`{name}` of `{row.name}`")

    # ------------------------------------------------------------ observations

    def observation(self, observation: Observation) -> None:
        """How an observation is distributed. A scale that is left out is `estimated`."""
        call = observation.item.distribution
        row = self.distribution(call)
        if row is None:
            return
        assert isinstance(call, syntax.Call)
        target, scope = self.target(observation), observation.scope
        self.countable(row, target, observation)
        names = [name for name, _ in row.arguments]
        observation.estimated = _leaves_out_scale(call, names, row.scale)
        if observation.estimated and observation.data is None:
            message = f"`{observation.name}` is a sensor, and does not say how far its readings scatter"
            help_text = f"write `{row.name}({', '.join(names)})`: `record` draws the readings from it"
            self.report("missing-argument", message, call.span, f"has no `{row.scale}`", help=help_text)
        if observation.estimated:
            names = [name for name in names if name != row.scale]
        timed = observation.data is not None and observation.data.time is not None
        self.reductions, self.along = not timed, observation.name if timed else ""
        given = self.arranged(call.arguments, names, call.span, row.name, optional=0)
        for name, argument in given.items():
            self.argument_of(target, name, Scoped(argument, scope, target.unit), row)
        for limit in (observation.below, observation.above):
            if limit is not None:
                self.in_kelvin(target, limit.expr)
                self.fits(target, limit, "observation")
        self.reductions, self.along = False, ""
        units = dict(row.arguments)
        arguments = (Scoped(given[n], scope, target.unit if units[n] else None) for n in names if n in given)
        observation.distribution, observation.dimension = row.name, target.dimension
        observation.arguments = tuple(arguments)

    def target(self, observation: Observation) -> Variable:
        """What is observed; of a sensor a quantity that nothing else names."""
        if observation.column is not None:
            return observation.column
        item = observation.item
        declaration = syntax.Declaration("given", observation.name, item.target.span, unit=item.unit, span=item.span)
        target = Variable(observation.name, "column", declaration, observation.scope, observation.unit)
        target.dimension = observation.unit.dimension if observation.unit else self.unifier.fresh()
        return target

    def countable(self, row: Distribution, target: Variable, observation: Observation) -> None:
        """A distribution over pure numbers is of what has no unit."""
        if any(in_unit for _, in_unit in row.arguments) or self.unifier.unify(target.dimension, PURE, None):
            return
        message = f"`{row.name}` is of pure numbers, and `{observation.name}` has the unit {target.dimension}"
        call = observation.item.distribution
        help_text = "declare the column without a unit, if it counts something"
        self.report("count-with-unit", message, call.span, "distributed here", help=help_text)

    def argument_of(self, target: Variable, name: str, value: Scoped, row: Distribution) -> None:
        if dict(row.arguments)[name]:
            self.in_kelvin(target, value.expr)
            self.fits(target, value, "observation")
            return
        found = self.infer(value.expr, value.scope)
        self.number_only(found, value.expr)
        self.must_be_pure(found, value.span, f"`{name}` of `{row.name}`")
        if found.shape:
            self.wrongshape_text((), found.shape, value.span)

    def in_kelvin(self, target: Variable, expr: syntax.Expr) -> None:
        """A bare number beside a column of degrees would be read in K."""
        unit = target.declaration.unit
        if isinstance(unit, syntax.UnitName) and unit.id in AFFINE and literal(expr):
            message = f"`{target.path}` is read in {unit.id} and kept in K: this number needs its unit"
            self.report("affine-unit", message, expr.span, "has no unit", help=f"write `{expr.span.text} [K]`")


def _leaves_out_scale(call: syntax.Call, names: list[str], scale: str | None) -> bool:
    """Whether all arguments but the scale are given, those after it by name."""
    given = call.arguments
    if scale is None or len(given) != len(names) - 1 or any(a.name == scale for a in given):
        return False
    return sum(a.name is None for a in given) <= names.index(scale)
