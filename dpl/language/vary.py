"""What a task varies: params, networks, givens, starts, all of a part, and `let`s freed from their equations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dpl.language import syntax
from dpl.language.change import causes, chain
from dpl.language.constants import BadConstant, NotConstant, constant, literal
from dpl.language.depend import reads
from dpl.language.diagnostics import Label, did_you_mean, with_article
from dpl.language.infer import Inference
from dpl.language.model import (
    FreeLet,
    NetworkUse,
    PortType,
    Scope,
    Scoped,
    System,
    Variable,
    VariedQuantity,
    target_of,
)
from dpl.language.rules import upside_down
from dpl.language.settings import bound_of
from dpl.language.source import Span
from dpl.language.units import Unit, read_unit

MOST_LISTED = 8
"""Where no name is close, so many are listed at the most"""


@dataclass(frozen=True)
class Ends:
    """A declared range in SI; None where it is open or not constant. `span` is where it is written."""

    low: float | None
    high: float | None
    span: Span


def ends_of(quantity: Variable | FreeLet) -> Ends | None:
    """The range of what may vary: its own, else that of the network's output that a `let` names."""
    if isinstance(quantity, FreeLet) and quantity.port is not None:
        record = quantity.variable.record
        return _port_ends(record, quantity.port) if record is not None else None
    variable = quantity.variable if isinstance(quantity, FreeLet) else quantity
    domain = variable.declaration.domain
    if isinstance(domain, syntax.Range):
        high = bound_of(variable, domain.high, domain) if domain.high else None
        return Ends(_finite(bound_of(variable, domain.low, domain)), _finite(high), domain.span)
    if variable.kind in ("param", "given", "state") or variable.value is None:
        return None
    return _ends_of_value(variable.value)


def _ends_of_value(value: Scoped) -> Ends | None:
    """The range of the network's output that the value is, at once or by another name."""
    expr, scope = value.expr, value.scope
    target = target_of(expr, scope)
    if target is not None:
        return ends_of(target) if target.kind in ("let", "output", "input") else None
    result = _result(value)
    return _port_ends(*result) if result else None


def shown_unit(quantity: Variable | FreeLet) -> Unit:
    """The unit to show what is freed in: as declared, else that of the network's output that it names."""
    variable = quantity.variable if isinstance(quantity, FreeLet) else quantity
    own = isinstance(quantity, FreeLet) and quantity.port is not None
    if own or variable.unit is not None or variable.value is None:
        return quantity.display
    target = target_of(variable.value.expr, variable.value.scope)
    if target is not None:
        return shown_unit(target) if target.kind in ("let", "output", "input") else quantity.display
    result = _result(variable.value)
    return result[1].display if result else quantity.display


def _result(value: Scoped) -> tuple[NetworkUse, PortType] | None:
    """The network and its output that the value is, if it is one."""
    expr, scope = value.expr, value.scope
    call = expr.object if isinstance(expr, syntax.Member) else expr
    record = target_of(call, scope)
    use = record.record if record is not None else None
    if isinstance(call, syntax.Call) and isinstance(call.function, syntax.Name):
        found = scope.find(call.function.id)
        use = found if isinstance(found, NetworkUse) else None
    if use is None:
        return None
    wanted = expr.name if isinstance(expr, syntax.Member) else use.outputs[0].name if len(use.outputs) == 1 else None
    port = next((p for p in use.outputs if p.name == wanted), None)
    return (use, port) if port is not None else None


def _port_ends(use: NetworkUse, port: PortType) -> Ends:
    place = next(p for p in use.item.outputs if p.name == port.name)
    return Ends(_finite(port.low), _finite(port.high), place.span)


def _finite(end: float | None) -> float | None:
    return None if end is None or abs(end) == float("inf") else end


def _is_number(value: Scoped) -> bool:
    """Whether the value is a constant, or a list of constants."""
    if isinstance(value.expr, syntax.List):
        return all(_is_number(Scoped(item, value.scope)) for item in value.expr.items)
    try:
        constant(value)
    except (NotConstant, BadConstant):
        return False
    return True


def find(path: tuple[str, ...], span: Span, inference: Inference) -> object:
    """What a dotted path means in a scenario, one of a network's several results included; reported if nothing."""
    system = inference.system
    found: object = system.root.find(path[0])
    known = list(system.root.known())
    holder, word = "", path[0]
    for name in path[1:]:
        if found is None:
            break
        holder, word = f"{holder}.{word}" if holder else word, name
        if isinstance(found, Scope):
            known, found = list(found.names), found.names.get(name)
        elif isinstance(found, Variable) and found.record is not None:
            ports = {p.name: p for p in found.record.outputs}
            known, found = list(ports), FreeLet(found, ports[name]) if name in ports else None
        else:
            known, found = [], None
    if found is None:
        listed = f"`{holder}` has {', '.join(known)}" if holder and 0 < len(known) <= MOST_LISTED else None
        inference.report(
            "unknown-name",
            f"`{'.'.join(path)}` is not in scenario `{system.name}`",
            span,
            "named here",
            help=did_you_mean(word, known) or listed,
        )
    return found


@dataclass
class Vary:
    """Reads the `vary` clauses of one task. `sound`: the scenario is right so far, and its equations can be asked."""

    inference: Inference
    kind: str
    sound: bool
    critic: NetworkUse | None = None
    """The network that `window` fits by itself, so that `all` leaves it out"""
    annealed: frozenset[str] = frozenset()
    """Params that go their own way, so that `all` and parts leave them out"""

    @property
    def system(self) -> System:
        return self.inference.system

    def read(self, items: list[syntax.Varied]) -> tuple[VariedQuantity, ...]:
        result: dict[str, VariedQuantity] = {}
        for item in items:
            for quantity in self.varied(item):
                if quantity.path in result:
                    self.inference.report(
                        "said-twice",
                        f"`{quantity.path}` varies already",
                        quantity.span,
                        "said again here",
                        related=(Label(result[quantity.path].span, "first said here"),),
                    )
                result.setdefault(quantity.path, quantity)
        return tuple(result.values())

    def varied(self, item: syntax.Varied) -> Iterator[VariedQuantity]:
        if item.each and self.kind == "train":
            self.inference.report(
                "misplaced-each",
                "`train` draws fresh runs at each step, so that none has a value of its own to keep",
                item.span,
                "varies in each run",
                help=f"write `optimize`, which keeps its runs, or `vary {'.'.join(item.path)}`: one value for all",
            )
            return
        if not item.path or (item.path == ("all",) and self.system.root.find("all") is None):
            yield from self.all_of(self.system.root, item, everything=True)
            return
        found = find(item.path, item.span, self.inference)
        variable = found.variable if isinstance(found, FreeLet) else found
        if isinstance(variable, Variable) and (variable.kind == "column" or variable.row is not None):
            self.of_data(variable, item)
            return
        if isinstance(variable, Variable) and variable not in self.system.variables:
            self.unused(f"nothing in scenario `{self.system.name}` reads `{variable.path}`", item)
            return
        match found:
            case None:
                return
            case Scope():
                yield from self.part(found, item)
            case NetworkUse():
                yield from self.network(found, item)
            case FreeLet() | Variable(kind="let"):
                yield from self.freed(found, item)
            case Variable(kind="param" | "given"):
                yield self.narrowed(found, item)
            case Variable(kind="state") if self.kind == "fit":
                yield from self.start(found, item)
            case Variable():
                words = "starts, lets and networks" if self.kind == "fit" else "lets and networks"
                self.inference.report(
                    "not-variable",
                    f"`{found.path}` is {with_article(found.kind)}: only params, givens, {words} vary",
                    item.span,
                    "named here",
                    related=(Label(found.span, "declared here"),),
                    help=_WAYS_OUT.get(found.kind, "declare it `param`").format(name=found.declaration.name),
                )
            case _:
                self.inference.report("not-variable", f"`{'.'.join(item.path)}` cannot vary", item.span, "named here")

    def part(self, found: Scope, item: syntax.Varied) -> Iterator[VariedQuantity]:
        quantities = list(self.all_of(found, item))
        if not quantities:
            message = f"`{found.path}` has neither params nor networks"
            self.inference.report("nothing-varies", message, item.span, "named here")
        self.no_range(item, "a part has no range to narrow", f"name what is in it: `{found.path}.name in …`")
        yield from quantities

    def all_of(self, scope: Scope, item: syntax.Varied, *, everything: bool = False) -> Iterator[VariedQuantity]:
        inside = f"{scope.path}."
        for variable in self.system.variables:
            if variable.path in self.annealed:
                continue
            if variable.kind == "param" and (everything or variable.path.startswith(inside)):
                yield VariedQuantity(variable.path, item.span, each=item.each)
        for use in self.system.networks:
            called = use in self.inference.used and use is not self.critic
            if called and (everything or use.path.startswith(inside)):
                yield from self.network(use, item)

    def network(self, use: NetworkUse, item: syntax.Varied) -> Iterator[VariedQuantity]:
        if item.each:
            self.inference.report(
                "misplaced-each",
                f"the weights of a network are shared by all runs, also those of `{use.path}`",
                item.span,
                "varies in each run",
                related=(Label(use.item.name_span, "declared here"),),
                help=f"write `vary {use.path}`, or vary what it decides: `let name = …` and `vary each name`",
            )
        elif use is self.critic:
            message = f"`{use.path}` is the critic, which `window` fits by itself"
            self.inference.report("critic-used", message, item.span, "varies here as well", help="leave it out here")
        elif use not in self.inference.used:
            self.unused(f"nothing in scenario `{self.system.name}` calls the network `{use.path}`", item)
        else:
            if item.path and item.path[-1] == use.item.name:
                self.no_range(item, "a network has no range to narrow", None)
            yield VariedQuantity(use.path, item.span)

    def unused(self, message: str, item: syntax.Varied) -> None:
        self.inference.report("nothing-varies", message, item.span, "would change nothing")

    def no_range(self, item: syntax.Varied, message: str, way_out: str | None) -> None:
        if item.range is not None:
            self.inference.report("misplaced-range", message, item.range.span, "stands here", help=way_out)

    # ------------------------------------------------------------ lets

    def freed(self, found: Variable | FreeLet, item: syntax.Varied) -> Iterator[VariedQuantity]:
        """A `let` without its equation; of a network's several results, each."""
        variable = found.variable if isinstance(found, FreeLet) else found
        if variable.noise:
            self.inference.report(
                "not-variable",
                f"`{variable.path}` is a noise, which is drawn: only params, givens, lets and networks vary",
                item.span,
                "named here",
                related=(Label(variable.span, "declared here"),),
                help="vary a param on which an argument of its distribution depends",
            )
            return
        if self.sound and self.moves(variable, item):
            return
        if variable.value is None:
            self.inference.report(
                "not-variable",
                f"`{variable.path}` is found by solving equations: freed from them, they would be one too many",
                item.span,
                "named here",
                related=(Label(variable.span, "has no value of its own"),),
                help="vary a param, or a `let` with a value",
            )
            return
        if isinstance(found, Variable) and found.record is not None:
            first = f"`{found.path}.{found.record.outputs[0].name} in …`"
            self.no_range(item, f"`{found.path}` has several results, each with its own range", f"narrow one: {first}")
            quantities = [FreeLet(found, port) for port in found.record.outputs]
            single = None
        else:
            quantities = [found if isinstance(found, FreeLet) else FreeLet(found)]
            single = item
        for quantity in quantities:
            self.system.freed.setdefault(quantity.path, quantity)
            if single is not None:
                yield self.narrowed(quantity, single)
            else:
                yield VariedQuantity(quantity.path, item.span, each=item.each)

    def moves(self, variable: Variable, item: syntax.Varied) -> bool:
        """Whether the `let` changes during a run; reported with what makes it so."""
        found = causes(self.system)
        if variable not in found:
            return False
        links = chain(variable, found)
        last = links[-1]
        what = f"the {last.word} `{last.path}`" if isinstance(last, Variable) else f"`{last}`"
        through = ", ".join(f"`{link.path}`" for link in links[1:-1] if isinstance(link, Variable))
        self.inference.report(
            "varies-in-time",
            f"`{variable.path}` changes during a run, so that no one value can stand for it: it depends on {what}",
            item.span,
            "varied here",
            related=(
                Label(variable.span, f"depends on {what}" + (f" through {through}" if through else "")),
                *((Label(last.span, "moves"),) if isinstance(last, Variable) else ()),
            ),
            help="vary a param, or a `let` that depends on params and givens only",
        )
        return True

    # ------------------------------------------------------------ starts, and what data say

    def start(self, found: Variable, item: syntax.Varied) -> Iterator[VariedQuantity]:
        """The start of a state: a number of the text, within the state's own range."""
        value = found.value
        if value is not None and _is_number(value):
            narrowed, own = self.narrowed(found, item), ends_of(found)
            low, high = (own.low, own.high) if own else (None, None)
            yield replace(
                narrowed,
                low=low if narrowed.low is None else narrowed.low,
                high=high if narrowed.high is None else narrowed.high,
            )
            return
        place, way_out = found.span, f"give it a number to start at, `state {found.declaration.name} = …`"
        said = "has no start of its own"
        if value is not None:
            behind = [r.what.path for r in reads(value) if isinstance(r.what, Variable)]
            place, said = value.span, f"starts at `{value.span.text}`, which is computed"
            way_out = f"vary what that is made of: {', '.join(dict.fromkeys(behind))}" if behind else way_out
        self.inference.report(
            "not-variable",
            f"`{found.path}` {said}: only a start that is a number varies",
            item.span,
            "named here",
            related=(Label(place, "starts here" if value is not None else "declared here"),),
            help=way_out,
        )

    def of_data(self, found: Variable, item: syntax.Varied) -> None:
        column = found.row or found
        self.inference.report(
            "not-variable",
            f"`{found.path}` is what the data say, and does not vary",
            item.span,
            "named here",
            related=(Label(column.span, "declared here"),),
            help="vary a param, and let it act on what the data say",
        )

    # ------------------------------------------------------------ ranges

    def narrowed(self, quantity: Variable | FreeLet, item: syntax.Varied) -> VariedQuantity:
        low = high = None
        if item.range is not None:
            unit = read_unit(item.range.unit, self.inference.problems) if item.range.unit else quantity.display
            self.inference.same(quantity.dimension, unit.dimension, item.range.span, quantity.span, "range")
            low = self.bound(item.range.low, unit, quantity)
            high = self.bound(item.range.high, unit, quantity) if item.range.high else None
            if low is not None and high is not None and not low < high:
                self.inference.problems.append(upside_down(item.range))
            self.inside(quantity, item.range, low, high)
        return VariedQuantity(quantity.path, item.span, low, high, item.each)

    def inside(self, quantity: Variable | FreeLet, range_: syntax.Range, low: float | None, high: float | None) -> None:
        """A task narrows a range; it does not widen it."""
        own = ends_of(quantity)
        if own is None:
            return
        slack = 1e-9 * max(abs(e) for e in (low or 0.0, high or 0.0))
        below = low is not None and own.low is not None and low < own.low - slack
        above = high is not None and own.high is not None and high > own.high + slack
        if below or above:
            self.inference.report(
                "out-of-range",
                f"`{quantity.path}` may not leave its own range",
                range_.span,
                f"reaches outside {own.span.text}",
                related=(Label(own.span, "its range"),),
            )

    def bound(self, expr: syntax.Expr, unit: Unit, quantity: Variable | FreeLet) -> float | None:
        if literal(expr) is None:
            found = self.inference.infer(expr, self.system.root)
            self.inference.same(quantity.dimension, found.dimension, expr.span, quantity.span, "range")
        value = self.inference.constant(Scoped(expr, self.system.root, unit), "a bound")
        return None if value is None else float(value)


_WAYS_OUT = {
    "const": "declare it `param`",
    "state": "vary the param or given from which it starts; `fit` finds starts, too",
    "input": "name what it is wired to, `let {name} = …`, and vary that",
    "output": "give what it equals a name, `let … = …`, and vary that",
}
