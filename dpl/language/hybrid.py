"""Events and modes as a whole: what a condition waits for, which modes are reached, what has a value where.

Also decides which events are tested at ticks. Works on the AST alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from dpl.language.balance import Structure
from dpl.language.calls import comparisons
from dpl.language.change import made_of, varying
from dpl.language.depend import reads
from dpl.language.diagnostics import Diagnostic
from dpl.language.model import Event, Scoped, System, Variable


def check_hybrid(system: System, problems: list[Diagnostic]) -> None:
    structure, changing = Structure(system), varying(system)
    for event in system.events:
        if event.condition is not None:
            event.sampled = _sampled(event.condition, structure, changing)


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
        if event.condition is not None:
            condition = event.condition
            operands = (o for c in comparisons(condition.expr) for o in c.operands)
            times += [Scoped(o, condition.scope) for o in operands]
        for time in times:
            yield event, time
        for assignment in event.assignments:
            yield assignment.target, assignment.value
        touched = {a.target for a in event.assignments}
        if event.go is not None:
            touched |= {v for v in system.variables if v.kind == "state" and v.scope is event.scope}
        if event.stop:
            touched |= {v for v in system.variables if v.kind == "state"}
        for variable in touched:
            for time in times:
                yield variable, time
