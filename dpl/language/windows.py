"""`window`: training in windows of a long run, with a network for what comes after each; read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from dpl.language import syntax
from dpl.language.balance import Structure
from dpl.language.change import made_of, varying
from dpl.language.depend import Read, reads
from dpl.language.diagnostics import Label, did_you_mean
from dpl.language.infer import Inference
from dpl.language.model import Measure, NetworkUse, Objective, RunSettings, Scope, Scoped, System, Variable, WindowUse
from dpl.language.settings import Reader

REDUCTIONS = ("average", "integral")
"""What an objective may be that is learned in windows"""


def critic_of(clause: syntax.TrainingWindow, scope: Scope) -> NetworkUse | None:
    """The network whose call is the value at a window's end."""
    value = clause.value
    name = value.function if isinstance(value, syntax.Call) else value
    found = scope.find(name.id) if isinstance(name, syntax.Name) else None
    return found if isinstance(found, NetworkUse) else None


@dataclass
class Windows:
    """Reads the window of one task. `sound`: the scenario is right so far, so that its equations can be asked."""

    inference: Inference
    sound: bool
    clause: syntax.TrainingWindow
    called: syntax.Expr
    """The value at a window's end: what stands after `with value`"""

    @property
    def system(self) -> System:
        return self.inference.system

    def read(self, objective: Objective | None) -> WindowUse | None:
        """The window, if nothing is wrong with it."""
        before = len(self.inference.problems)
        if self.system.hybrid:
            self.eventless()
            return None
        reduced = self.reduced(objective) if objective is not None else None
        duration, discount = self.duration(), self.discount()
        critic = self.critic()
        if critic is not None:
            self.value(critic, reduced[0] if reduced else None)
        if len(self.inference.problems) > before or not (reduced and duration and critic):
            return None
        value = self.called
        assert isinstance(value, syntax.Call)
        names = [p.name for p in critic.inputs]
        given = {a.name or names[i]: a.value for i, a in enumerate(value.arguments)}
        arguments = tuple(Scoped(given[name], self.system.root) for name in names)
        return WindowUse(duration, critic, arguments, reduced[1], discount, self.clause.span)

    def eventless(self) -> None:
        """A run of windows goes by known steps, and no instant lies between them."""
        system = self.system
        culprits = [
            *(Label(event.span, "happens at an instant of its own") for event in system.events),
            *(Label(automaton.spans[0], "is a mode") for automaton in system.automata),
            *(Label(constraint.span, "is a constraint") for constraint in system.constraints),
        ]
        self.inference.report(
            "not-supported",
            "a `window` in a scenario with events, modes or constraints is not supported by this version of DPL",
            self.clause.span,
            "asked for here",
            related=tuple(culprits[:1]),
            help="leave `window` out: `train` then learns from whole runs, through their events",
        )

    # ------------------------------------------------------------ what is minimised

    def reduced(self, objective: Objective) -> tuple[Measure, Scoped] | None:
        """The loss and the reduction over time that it is."""
        goal = objective.goal.value
        inner = goal.arguments[0].value if _calls(goal, "mean") and isinstance(goal, syntax.Call) else goal
        found = self.system.root.find(inner.id) if isinstance(inner, syntax.Name) else None
        if isinstance(found, Measure) and _over_the_whole_run(found.item.value):
            return found, Scoped(found.item.value, found.scope)
        self.inference.report(
            "no-windowed-loss",
            "a run learned in windows is judged by one `average` or one `integral` over all of it",
            goal.span,
            "is more than that" if isinstance(found, Measure) else "is not the name of a loss",
            related=(Label(found.item.value.span, f"`{found.item.name}` is this"),)
            if isinstance(found, Measure)
            else (),
            help="declare `loss cost = average(…)` with all that counts in it, and `minimize cost`",
        )
        return None

    # ------------------------------------------------------------ how long

    def duration(self) -> Fraction | None:
        length = self.clause.length
        if not self.system.runs:
            self.inference.report(
                "no-run",
                f"scenario `{self.system.name}` does not run, so that there is nothing to take windows of",
                self.clause.span,
                "asked for here",
                help="leave `window` out, or say how long it runs: `run for 10 [s]`",
            )
            return None
        found = Reader(self.inference, self.system.root).time(length, "the length of a window")
        run = self.system.run
        if found is None or run is None:
            return None
        if found <= 0:
            self.inference.report("not-positive", "a window is longer than 0", length.span, "is not above 0")
        elif found > run.duration:
            self.inference.report(
                "window-too-long",
                "this window is longer than the run",
                length.span,
                f"is {float(found):g} s",
                related=(Label(run.span, f"lasts {float(run.duration):g} s"),),
                help="make it shorter, or leave `window` out to learn from whole runs",
            )
        else:
            self.whole(found, run)
        return found

    def whole(self, length: Fraction, run: RunSettings) -> None:
        """A window is a whole number of ticks of every clock, or of steps."""
        clocks = self.system.clocks
        step = run.method.arguments.get("step") if run.method else None
        if not clocks and step is None:
            self.inference.report(
                "no-steps",
                "windows are cut between steps of a known length, and this scenario names none",
                self.clause.span,
                "asked for here",
                related=(Label(run.span, "a solver chooses its steps here"),),
                help="write `run for … using rk4(10 [ms])`, or euler, semi_implicit or midpoint",
            )
        units = [(clock.period, clock.span, "ticks") for clock in clocks]
        if not clocks and step is not None:
            units = [(Fraction(step).limit_denominator(10**12), run.span, "steps")]
        for unit, span, word in units:
            ratio = length / unit
            if abs(ratio - round(ratio)) > Fraction(1, 10**9) or round(ratio) < 1:
                near = float(max(1, round(ratio)) * unit)
                self.inference.report(
                    "window-and-steps",
                    f"a window is a whole number of {word}",
                    self.clause.length.span,
                    f"is {float(ratio):g} of them",
                    related=(Label(span, f"{word} of {float(unit):g} s"),),
                    help=f"take {near:g} s",
                )

    def discount(self) -> float:
        expr = self.clause.discount
        if expr is None:
            return 0.99
        found = self.inference.infer(expr, self.system.root)
        self.inference.must_be_pure(found, expr.span, "a discount")
        value = self.inference.constant(Scoped(expr, self.system.root), "a discount")
        if value is None:
            return 0.99
        if not 0 < value <= 1:
            message = "a discount lies above 0 and not above 1: so much a step later counts of what counts now"
            self.inference.report("bad-discount", message, expr.span, "does not", help="0.99 is common")
        return float(value)

    # ------------------------------------------------------------ the critic

    def critic(self) -> NetworkUse | None:
        """The network that is called, if it may be the critic."""
        value, root = self.called, self.system.root
        critic, report = critic_of(self.clause, root), self.inference.report
        if critic is None or not isinstance(value, syntax.Call):
            name = value.function if isinstance(value, syntax.Call) else value
            known = [n for n in root.known() if isinstance(root.find(n), NetworkUse)]
            report(
                "not-a-critic",
                "the value at a window's end is a call of a network",
                value.span,
                "calls none",
                help=(did_you_mean(name.id, known) if isinstance(name, syntax.Name) else None)
                or "declare `network critic(…) -> value`, and write `window … with value critic(…)`",
            )
            return None
        declared = (Label(critic.item.name_span, "declared here"),)
        if len(critic.outputs) != 1 or critic.outputs[0].shape:
            way_out = "declare it with one: `network critic(…) -> value`"
            report("not-a-critic", "a critic has one result", value.span, "has more", related=declared, help=way_out)
            return None
        if critic in self.inference.used:
            report(
                "critic-used",
                f"the scenario uses the network `{critic.path}` itself, so that it cannot be its critic too",
                value.span,
                "called here as the critic",
                related=declared,
                help="declare a network for the critic alone",
            )
            return None
        return critic

    def value(self, critic: NetworkUse, measure: Measure | None) -> None:
        """The call: its arguments are states, its result is like what is minimised."""
        value, before = self.called, len(self.inference.problems)
        used = set(self.inference.used)
        found = self.inference.infer(value, self.system.root)
        self.inference.used = used
        assert isinstance(value, syntax.Call)
        if len(self.inference.problems) > before:
            return
        if measure is not None and not self.inference.unifier.unify(measure.dimension, found.dimension, value.span):
            unit = measure.display.text or "1"
            self.inference.report(
                "unit-mismatch",
                f"the critic's result stands for what is left of `{measure.item.name}`, and has another unit",
                value.span,
                f"is {self.inference.unifier.resolve(found.dimension)}",
                related=(Label(critic.item.outputs[0].span, "declared here"), Label(measure.item.span, f"is {unit}")),
                help=f"declare its result as `{critic.outputs[0].name}: {unit}`",
            )
        if self.sound:
            for argument in value.arguments:
                self.states_only(argument.value)

    def states_only(self, expr: syntax.Expr) -> None:
        """What the critic sees is known at a window's end without asking a controller."""
        culprit = _Culprits(self.system).of(Scoped(expr, self.system.root))
        if culprit is not None:
            self.inference.report(
                "critic-sees-more",
                f"a critic judges states, and {culprit}",
                expr.span,
                "is not made of states alone",
                help="give it the states from which a run goes on, and functions of them",
            )


def _over_the_whole_run(expr: syntax.Expr) -> bool:
    """Whether the expression is one average or integral without a window of its own."""
    windows = (isinstance(argument, syntax.Window) for argument in syntax.children(expr))
    return any(_calls(expr, name) for name in REDUCTIONS) and not any(windows)


def _calls(expr: syntax.Expr, name: str) -> bool:
    return isinstance(expr, syntax.Call) and expr.function == syntax.Name(name, span=expr.span) and bool(expr.arguments)


class _Culprits:
    """Finds what an expression reads that is neither a state nor made of states."""

    def __init__(self, system: System):
        self.structure, self.changing = Structure(system), varying(system)

    def of(self, value: Scoped) -> str | None:
        """The first such thing, in words."""
        waiting = [(read, "") for read in reads(value)]
        seen: set[Read] = set()
        while waiting:
            read, through = waiting.pop(0)
            if read in seen:
                continue
            seen.add(read)
            what = read.what
            if isinstance(what, NetworkUse):
                return f"{through or 'this'} is decided by the network `{what.path}`"
            if not isinstance(what, Variable) or what not in self.changing:
                continue
            if what.kind == "state":
                if read.order and read.order >= self.structure.orders.get(what, 1):
                    return f"`{what.path}{chr(39) * read.order}` is no state but the rate of one"
                continue
            name = f"`{what.path}`"
            if what.clock is not None:
                return f"{name} is worked out at ticks"
            waiting += [(Read(r.what, r.order + read.order), through or name) for r in self.made_of(what)]
        return None

    def made_of(self, variable: Variable) -> list[Read]:
        if variable.value is not None:
            return list(reads(variable.value))
        found = (r for source in made_of(variable, self.structure) for r in reads(source))
        return [r for r in found if r.what is not variable]
