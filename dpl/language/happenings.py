"""What single events say: conditions that can become true, times that are known, states that can be assigned.

Also decides which events are tested at ticks. Works on the AST alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from dpl.language import syntax
from dpl.language.balance import Structure
from dpl.language.calls import function_scope
from dpl.language.change import made_of, varying
from dpl.language.constants import BadConstant, NotConstant, constant
from dpl.language.depend import Read, reads
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.mechanics import read_through
from dpl.language.model import Automaton, Bound, Event, FunctionUse, Scope, Scoped, System, Variable

DEEPEST = 8
"""How far a start is followed through the values of names"""


def check_events(system: System, problems: list[Diagnostic]) -> None:
    """Each event by itself, and those of the first instant together. Sets `Event.sampled`."""
    structure, changing = Structure(system), varying(system)
    for event in system.events:
        if event.condition is not None:
            event.sampled = _sampled(event.condition, structure, changing)
            problems += _condition(event, event.condition, structure, changing)
        for time in (event.every, event.start, event.until, event.at):
            if time is not None:
                problems += _fixed(time, changing)
        if event.every is not None:
            problems += _positive(event.every)
        problems += _assignments(event, structure)
    if system.closed:  # a model's starts are set where it is used
        _first_instant(system, problems)


def _sampled(condition: Scoped, structure: Structure, changing: set[Variable]) -> bool:
    """Whether a condition reads only what changes at ticks, and what is fixed."""
    seen: set[Variable] = set()
    waiting = list(reads(condition))
    ticks = False
    while waiting:
        read = waiting.pop()
        if read.what == "time":
            return False
        if not isinstance(read.what, Variable) or read.what in seen or read.what not in changing:
            continue
        if read.order:
            return False
        seen.add(read.what)
        if read.what.clock is not None:
            ticks = True
        elif read.what.kind == "state":
            return False
        else:
            waiting += [r for source in made_of(read.what, structure) for r in reads(source)]
    return ticks


def event_sources(system: System) -> Iterator[tuple[Variable | Event, Scoped]]:
    """What events bring about, each with what it follows from: conditions are read with their derivatives, since the
    instant moves with them."""
    for event in system.events:
        times = [t for t in (event.every, event.start, event.until, event.at) if t is not None]
        for part in _parts(event.condition) if event.condition is not None else ():
            times += [Scoped(o, part.scope) for o in syntax.children(part.expr)]
        for time in times:
            yield event, time
        for assignment in event.assignments:
            yield assignment.target, assignment.value
        touched = {a.target for a in event.assignments}
        if event.go is not None:
            touched |= _ruled(event.go[0], system)
        if event.stop:
            touched |= {v for v in system.variables if v.kind == "state"}
        for variable in touched:
            for time in times:
                yield variable, time


def _ruled(automaton: Automaton, system: System) -> set[Variable]:
    """What the modes of an automaton decide: the states of its block, and all that is declared or said in its modes."""
    found = {v for v in system.variables if v.kind == "state" and v.scope is automaton.scope}
    found |= {v for v in system.variables if v.during is not None and v.during.automaton is automaton}
    said = [e.left for e in system.equations if e.during is not None and e.during.automaton is automaton]
    found |= {r.what for left in said for r in reads(left) if isinstance(r.what, Variable)}
    return found | {c.force for c in system.constraints if c.during and c.during.automaton is automaton}


# ---------------------------------------------------------------- conditions


def _condition(event: Event, condition: Scoped, structure: Structure, changing: set[Variable]) -> Iterator[Diagnostic]:
    found = list(reads(condition))
    held = next((r for r in found if isinstance(r.what, Variable) and r.what.clock is not None and r.order), None)
    if held is not None:
        yield held_rate(held, condition)
    parts = [part.expr for part in _parts(condition)]
    compares = all(isinstance(part, syntax.Compare) for part in parts)
    wired = any(v.kind == "input" for v in read_through(condition, structure))  # changes in another use of the block
    if compares and not wired and not any(_changes(r, changing) for r in found):
        yield never_changes(found, condition)
    for part in parts:
        if not isinstance(part, syntax.Compare):
            yield compares_nothing(part)
            continue
        exact = next((op for op in part.ops if op in ("==", "!=")), None)
        if exact is not None and not event.sampled:
            yield never_exact(part, exact)


def _changes(read: Read, changing: set[Variable]) -> bool:
    return read.what == "time" or bool(isinstance(read.what, Variable) and (read.what in changing or read.order))


def _parts(condition: Scoped) -> Iterator[Scoped]:
    """What `and`, `or` and `not` join, within functions too."""
    scope = condition.scope
    match condition.expr:
        case syntax.Unary("not", operand):
            yield from _parts(Scoped(operand, scope))
        case syntax.Binary("and" | "or", left, right):
            yield from _parts(Scoped(left, scope))
            yield from _parts(Scoped(right, scope))
        case syntax.Call(syntax.Name(name), arguments) if isinstance(use := scope.find(name), FunctionUse):
            values = zip(use.item.parameters, arguments, strict=False)
            inner = function_scope(use, {a.name or p: Scoped(a.value, scope) for p, a in values}, scope)
            yield from _parts(Scoped(use.item.value, inner))
        case _:
            yield condition


def held_rate(read: Read, condition: Scoped) -> Diagnostic:
    assert isinstance(read.what, Variable)
    return Diagnostic(
        "sampled-derivative",
        f"`{read.what.path}` changes at ticks only and has no derivative",
        Label(condition.span, "reads one"),
        (Label(read.what.span, "declared here"),),
        "compare the values themselves",
    )


def never_changes(found: list[Read], condition: Scoped) -> Diagnostic:
    fixed = [r.what for r in found if isinstance(r.what, Variable)]
    return Diagnostic(
        "never-changes",
        "this event never happens, or has happened already: nothing that its condition reads changes during a run",
        Label(condition.span, "stays as it is"),
        tuple(Label(v.span, f"`{v.path}` is fixed") for v in dict.fromkeys(fixed))[:3],
        "an event waits for a state, for what follows from one, or for `time`",
    )


def compares_nothing(part: syntax.Expr) -> Diagnostic:
    way_out = "write a comparison: `when h < 0 { … }`"
    if isinstance(part, syntax.If):
        way_out = "join comparisons by `and` and `or`"
    message = "an event waits for a comparison to become true"
    return Diagnostic("compares-nothing", message, Label(part.span, "compares nothing"), help=way_out)


def never_exact(part: syntax.Compare, op: str) -> Diagnostic:
    left, right = (o.span.text for o in part.operands[:2])
    return Diagnostic(
        "never-exact",
        f"`{op}` is never met exactly by what changes continuously",
        Label(
            part.span, "would be true for an instant at most" if op == "==" else "would be false for an instant only"
        ),
        help=f"write `{left} < {right}` or `{left} > {right}`: the event is at the crossing",
    )


# ---------------------------------------------------------------- times and assignments


def _fixed(time: Scoped, changing: set[Variable]) -> Iterator[Diagnostic]:
    for read in reads(time):
        if _changes(read, changing):
            what = read.what if isinstance(read.what, Variable) else None
            yield Diagnostic(
                "time-not-fixed",
                "the times of an event are fixed during a run",
                Label(time.span, f"depends on `{what.path if what else 'time'}`, which changes"),
                (Label(what.span, "declared here"),) if what else (),
                "write `when time > … { … }`, which waits for what changes",
            )
            return


def _positive(period: Scoped) -> Iterator[Diagnostic]:
    value = _known(period)
    if value is not None and value <= 0:
        yield Diagnostic("not-positive", "a period must be above 0", Label(period.span, "is not above 0"))


def _known(value: Scoped) -> Fraction | float | None:
    try:
        return constant(value)
    except (NotConstant, BadConstant):
        return None


def _assignments(event: Event, structure: Structure) -> Iterator[Diagnostic]:
    for assignment in event.assignments:
        target, order = assignment.target, assignment.order
        if order >= structure.orders.get(target, 1):
            name = target.path + "'" * order
            yield Diagnostic(
                "not-assignable",
                f"`{name}` is no state but follows from the equations",
                Label(assignment.span, "assigned here"),
                (Label(target.span, f"`{target.path}` is declared here"),),
                f"assign `{target.path + chr(39) * (structure.orders.get(target, 1) - 1)}`",
            )


# ---------------------------------------------------------------- the first instant


def _first_instant(system: System, problems: list[Diagnostic]) -> None:
    """What is known to be true, or to happen, when a run begins."""
    start = system.run.start if system.run else Fraction(0)
    first: list[Event] = []
    for event in system.events:
        if event.during is not None and event.during.automaton.modes[0] not in event.during.modes:
            continue
        if event.condition is not None:
            time = syntax.Number(start, span=event.span)
            true = _true(event.condition.expr, _starting(event.condition.scope, time, {}, DEEPEST))
            if true and event.at_once:
                first.append(event)
            elif true:
                problems.append(true_already(event.condition))
        elif start == (_known(event.at) if event.at else _known(event.start) if event.start else 0):
            first.append(event)
    for automaton in system.automata:
        leading = [e for e in first if e.go is not None and e.go[0] is automaton]
        problems += [ambiguous_mode(one, other) for one, other in pairwise(leading) if one.go != other.go]


def _starting(scope: Scope, time: syntax.Number, made: dict[tuple[int, int], Scope], depth: int) -> Scope:
    """The scope with states and names standing for what they are when the run begins."""
    key = (id(scope), depth)
    if key in made:
        return made[key]
    inner = made[key] = Scope(scope.path, scope.item, scope.file if depth else None, scope.clock)
    if depth == 0:
        return inner
    inner.names["time"] = Bound(Scoped(time, inner))
    for name, binding in scope.names.items():
        if isinstance(binding, Scope):
            inner.names[name] = _starting(binding, time, made, depth - 1)
        elif isinstance(binding, Variable) and binding.kind in ("state", "let", "output") and binding.value:
            value = binding.value
            there = _starting(value.scope, time, made, depth - 1)
            inner.names[name] = Bound(Scoped(value.expr, there, value.unit))
        else:
            inner.names[name] = binding
    return inner


def _true(expr: syntax.Expr, scope: Scope) -> bool | None:
    """Whether a condition is true of constants; None where it is not known. On its border it is false."""
    match expr:
        case syntax.Unary("not", operand):
            inner = _true(operand, scope)
            return None if inner is None else not inner
        case syntax.Binary("and", left, right):
            both = (_true(left, scope), _true(right, scope))
            return False if False in both else None if None in both else True
        case syntax.Binary("or", left, right):
            both = (_true(left, scope), _true(right, scope))
            return True if True in both else None if None in both else False
        case syntax.Compare(operands, ops):
            values = [_known(Scoped(o, scope)) for o in operands]
            if any(v is None for v in values):
                return None
            return all(
                _holds(op, float(a or 0), float(b or 0)) for op, (a, b) in zip(ops, pairwise(values), strict=True)
            )
        case _:
            return None


def _holds(op: str, a: float, b: float) -> bool:
    return {"<": a < b, "<=": a < b, ">": a > b, ">=": a > b, "==": False, "!=": a != b}[op]


def true_already(condition: Scoped) -> Diagnostic:
    return Diagnostic(
        "true-already",
        "this condition is true when the run begins: the event happens only once it has been false",
        Label(condition.span, "is true at the start"),
        help=f"write `{condition.span.text} at once` if the event is to happen then, or turn the comparison round",
        severity="warning",
    )


def ambiguous_mode(one: Event, other: Event) -> Diagnostic:
    modes = [e.go[1] for e in (one, other) if e.go]
    return Diagnostic(
        "ambiguous-mode",
        f"when the run begins, one event goes to mode `{modes[0]}` and another to mode `{modes[1]}`",
        Label(other.span, f"goes to `{modes[1]}` at once"),
        (Label(one.span, f"goes to `{modes[0]}` at once"),),
        "let one of them decide, or begin in the mode that is meant: the one that is named first",
    )
