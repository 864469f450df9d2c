"""Every intermediate form of a compilation as text for people: what `dpl show` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import cast

from dpl.compiler import ir
from dpl.compiler.algebra import Expr, opaque
from dpl.compiler.diagram import show_graph
from dpl.compiler.drawing import show_svg
from dpl.compiler.equations import CausalSystem
from dpl.compiler.lower import Lowered
from dpl.compiler.notation import Notation, latex, latex_name, latex_rows, statement_lines
from dpl.compiler.observations import keys
from dpl.compiler.operations import operations
from dpl.compiler.structure import Relation
from dpl.language import modes, syntax
from dpl.language.model import (
    CheckedModel,
    During,
    Event,
    NetworkUse,
    Observation,
    PortType,
    System,
    TableUse,
    Variable,
)
from dpl.language.source import Span
from dpl.language.units import unit_text

INDENT = "  "


def _indented(lines: Iterable[str]) -> list[str]:
    return [INDENT + line if line else "" for line in lines]


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows with their cells aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _heading(system: System) -> str:
    kind = "scenario" if system.closed else "model"
    mode = f" in {modes.name(system.configuration)}" if system.configuration else ""
    return f"{kind} {system.name}{mode}  ({system.item.span.origin})"


# ---------------------------------------------------------------- ast


def show_ast(model: CheckedModel) -> str:
    """The syntax tree: a node a line, its children below it."""
    return "\n".join(_node(model.file, ""))


def _node(node: syntax.Node | syntax.File, label: str) -> Iterator[str]:
    inline: list[str] = []
    below: list[str] = []
    for field in fields(node):
        value: object = getattr(node, field.name)
        if field.name in ("span", "source") or field.name.endswith(("_span", "_spans")) or value in (None, (), False):
            continue
        children = _children(value)
        if children is None:
            inline.append(f"{field.name}={_atom(value)}")
        else:
            named = field.name if len(children) == 1 else ""
            below += [line for child in children for line in _node(child, named)]
    name = type(node).__name__
    yield " ".join([f"{label}: {name}" if label else name, *inline])
    yield from _indented(below)


def _children(value: object) -> list[syntax.Node] | None:
    """The nodes that a field holds; None if it holds none, or a unit."""
    if isinstance(value, syntax.UnitName | syntax.UnitOne | syntax.UnitProduct | syntax.UnitPower):
        return None
    if isinstance(value, syntax.Node):
        return [value]
    items = list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else []
    nodes = [i for i in items if isinstance(i, syntax.Node)]
    return nodes if nodes and len(nodes) == len(items) else None


def _atom(value: object) -> str:
    if isinstance(value, syntax.UnitName | syntax.UnitOne | syntax.UnitProduct | syntax.UnitPower):
        return f"[{unit_text(value)}]"
    if isinstance(value, tuple):
        return ",".join(_atom(v) for v in cast("tuple[object, ...]", value))
    return repr(value) if isinstance(value, str) and not value.isidentifier() else str(value)


# ---------------------------------------------------------------- model


def show_model(model: CheckedModel) -> str:
    """Every quantity with kind, unit, shape, value and clock, of each scenario and of each model by itself."""
    return "\n\n".join("\n".join(_checked(s)) for s in (*model.systems.values(), *model.models.values()))


def _checked(system: System) -> list[str]:
    variables = dict.fromkeys((*system.variables, *system.row, *system.signals))
    rows = [("kind", "name", "unit", "value", "when", "from")] + [_row(v) for v in variables]
    lines = [f"part {p.path}: {getattr(p.item, 'name', '')}" for p in system.parts]
    lines += [f"modes of {a.path or system.name}: {', '.join(a.modes)}" for a in system.automata]
    lines += _columns(rows)
    lines += [_network(n) for n in system.networks]
    lines += [_table(t) for t in system.tables]
    for equation in system.equations:
        if equation.kind != "definition":
            word = "" if equation.kind == "equation" else f"{equation.kind} "
            left, right = (" ".join(s.span.text.split()) for s in (equation.left, equation.right))
            inner = f"initial({left})" if equation.kind == "initial" else f"{word}{left}"
            lines.append(f"{inner} = {right}  # {_during(equation.during)}{equation.span.origin}")
    lines += _dynamics(system)
    for measure in system.measures:
        unit = measure.display.text or "1"
        lines.append(
            f"{measure.item.kind} {measure.item.name} [{unit}] = {' '.join(measure.item.value.span.text.split())}"
        )
    lines += [_observation(o) for o in system.observations]
    if system.run is not None:
        run = system.run
        method = f" using {run.method.row.name}" if run.method else ""
        ends = "until it is stopped, within" if run.until_stop else "for"
        lines.append(f"run from {float(run.start):g} s {ends} {float(run.duration):g} s{method}")
    return [_heading(system), *_indented(lines)]


def _dynamics(system: System) -> list[str]:
    """Lagrangians with what acts on them, and events."""
    lines: list[str] = []
    for lagrangian in system.lagrangians:
        names = ", ".join(q.path for q in lagrangian.coordinates)
        where = f"{_during(lagrangian.during)}{lagrangian.span.origin}"
        lines.append(f"lagrangian of {names} = {_text(lagrangian.value.span)}  # {where}")
    for applied in system.applied:
        where = f"{_during(applied.during)}{applied.span.origin}"
        lines.append(f"applied {applied.target.path} = {_text(applied.value.span)}  # {where}")
    for constraint in system.constraints:
        where = f"{_during(constraint.during)}{constraint.span.origin}"
        sides = f"{_text(constraint.left.span)} = {_text(constraint.right.span)}"
        lines.append(f"constraint by {constraint.force.path}: {sides}  # {where}")
    return lines + [_event(event) for event in system.events]


def _event(event: Event) -> str:
    words = [("every", event.every), ("from", event.start), ("until", event.until), ("at", event.at)]
    words.insert(0, ("when", event.condition))
    said = " ".join(f"{word} {_text(value.span)}" for word, value in words if value is not None)
    done = [
        _text(a.span) if a.value.span == a.span else f"{a.target.path + chr(39) * a.order} := {_text(a.value.span)}"
        for a in event.assignments
    ]
    done += [f"go {event.go[1]}"] if event.go else []
    done += ["stop"] if event.stop else []
    notes = ("at once, " if event.at_once else "") + ("at ticks, " if event.sampled else "")
    where = f"{notes}{_during(event.during)}{event.span.origin}"
    return f"event {event.path}: {said} {{ {'; '.join(done)} }}  # {where}"


def _during(during: During | None) -> str:
    """`in slide, swing; ` before a place."""
    return f"in {', '.join(m for m in during.automaton.modes if m in during.modes)}; " if during else ""


def _text(span: Span) -> str:
    return " ".join(span.text.split())


def _row(variable: Variable) -> tuple[str, ...]:
    name = variable.path + (f"[{', '.join(map(str, variable.shape))}]" if variable.shape else "")
    unit = variable.display.text or "1"
    unit += "" if variable.unit is not None else " (inferred)"
    value = " ".join(variable.value.span.text.split()) if variable.value is not None else ""
    clock = f"every {float(variable.clock.period):g} s" if variable.clock is not None else ""
    when = ", ".join(filter(None, (clock, _during(variable.during).rstrip("; "))))
    return variable.kind, name, unit, f"= {value}" if value else "", when, (variable.wired or variable.span).origin


def _network(use: NetworkUse) -> str:
    options = use.options
    inside = f" {{ hidden {', '.join(map(str, options.hidden))}; activation {options.activation} }}" if options else ""
    return f"network {use.path}({_ports(use.inputs)}) -> ({_ports(use.outputs)}){inside}"


def _table(use: TableUse) -> str:
    ends = f"{use.knots[0]:g} to {use.knots[-1]:g}" if use.knots else "none"
    signature = f"{use.path}({_ports((use.input,))}) -> {_ports((use.output,))}"
    return f"table {signature} {{ {len(use.knots)} points, {ends}; {use.using} }}"


def _observation(observation: Observation) -> str:
    when = "along the run" if observation.timed else "once a run"
    estimated = ", of unknown scale" if observation.estimated else ""
    return f"{_text(observation.span)}  # {when}{estimated}; {observation.span.origin}"


def _ports(ports: tuple[PortType, ...]) -> str:
    def port(p: PortType) -> str:
        shape = f"[{', '.join(map(str, p.shape))}]" if p.shape else ""
        unit = "" if p.dimension.pure else f": {p.dimension}"
        ends = ["" if e is None else f"{e:g}" for e in (p.low, p.high)]
        return f"{p.name}{shape}{unit}" + (f" in {'..'.join(ends)}" if any(ends) else "")

    return ", ".join(map(port, ports))


# ---------------------------------------------------------------- system


def show_system(systems: Iterable[CausalSystem]) -> str:
    """What is computed in which order, and how each circle is solved."""
    return "\n\n".join("\n".join(_causal(s)) for s in systems)


def _causal(causal: CausalSystem) -> list[str]:
    text = Notation().text
    lines: list[str] = []
    for variable, order in causal.translator.structure.orders.items():
        names = ", ".join(variable.path + "'" * k for k in range(order))
        lines.append(f"state {names}" + ("" if order == 1 else f"  (order {order})"))
    lines += [f"alias {text(name)} = {text(end)}" for name, end in causal.aliases.items()]
    for statement in causal.statements:
        if causal.aliases.keys() & set(ir.targets(statement)):
            continue
        first, *rest = statement_lines(statement)
        implicit = isinstance(statement, ir.Assign) and _solved(statement, causal.relations)
        lines += [f"{first}  # {'solved explicitly, ' if implicit else ''}{statement.origin}", *rest]
    for measure, value in causal.measures:
        lines.append(f"{measure.item.kind} {measure.item.name} = {text(value)}  # {measure.item.span.origin}")
    for r in causal.translator.reductions:
        window = "".join(f" {w} {text(e)}" for w, e in (("from", r.start), ("until", r.until)) if e is not None)
        arguments = "".join(f", {text(a)}" for a in r.arguments)
        lines.append(f"{text(r.symbol)} = {r.kind}({text(causal.aliased(r.value))}{window}{arguments})")
    return [_heading(causal.system), *_indented(lines)]


def _solved(statement: ir.Assign, relations: tuple[Relation, ...]) -> bool:
    """Whether an equation was turned round for its unknown."""
    given = [(r.left, r.right) for r in relations]
    pairs = ((statement.target, statement.value), (statement.value, statement.target))
    return not any(pair in given for pair in pairs)


# ---------------------------------------------------------------- ir


def show_ir(scenarios: Iterable[Lowered]) -> str:
    """The functions of each scenario, with their operations before and after common parts were shared."""
    return "\n\n".join("\n".join(_lowered(s)) for s in scenarios)


def _lowered(lowered: Lowered) -> list[str]:
    text = Notation().text
    lines: list[str] = []
    before = after = 0
    for name, function, raw in lowered.all_functions():
        one, other = operations(raw), operations(function)
        before, after = before + one, after + other
        counts = f"{one} operations, {other} after simplification"
        body = [line for s in function.body for line in statement_lines(s)]
        body += [f"return {', '.join(map(text, ir.leaves(function.returns)))}".rstrip()]
        lines += [f"{name}: {counts}", *_indented(body)]
    lines.append(f"in all: {before} operations, {after} after simplification")
    return [_heading(lowered.system.whole or lowered.system), *_indented(lines)]


# ---------------------------------------------------------------- latex


def show_latex(systems: Iterable[CausalSystem]) -> str:
    """The equations of each system, to paste into a document that uses amsmath."""
    return "\n\n".join(block for block in map(_latex, systems) if block)


def _latex(causal: CausalSystem) -> str:
    rows = [row for r in causal.relations for row in latex_rows(r.left, r.right)]
    rows += [rf"{latex_name('measure ' + m.item.name)} &= {latex(_reduced(v, causal))}" for m, v in causal.measures]
    rows += _distributed(causal)
    if not rows:
        return ""
    mode = f" in {modes.name(causal.system.configuration)}" if causal.system.configuration else ""
    title = f"{causal.system.name}{mode}".replace("_", r"\_")
    lines = [rf"\paragraph{{{title}}}", r"\begin{align*}", *(rf"  {row} \\" for row in rows)]
    return "\n".join([*lines, r"\end{align*}"])


def _distributed(causal: CausalSystem) -> Iterator[str]:
    """What is observed, and how it scatters."""
    timed, once = iter(causal.observed.timed), dict(causal.observed.once)
    for o in causal.system.observations:
        values = next(timed) if o.timed else tuple(once[key] for key in keys(o))
        shown = ", ".join(latex(_reduced(value, causal)) for value in values[: len(o.arguments)])
        name = o.distribution.replace("_", r"\_")
        yield rf"{latex_name(o.name)} &\sim \operatorname{{{name}}}\left({shown}\right)"


def _reduced(value: Expr, causal: CausalSystem) -> Expr:
    """A loss or metric with its reductions written out as functions."""
    return value.xreplace({r.symbol: opaque(r.kind)(r.value, *r.arguments) for r in causal.translator.reductions})


# ---------------------------------------------------------------- tables of stages

CHECKED: dict[str, Callable[[CheckedModel], str]] = {
    "ast": show_ast,
    "model": show_model,
    "graph": show_graph,
    "svg": show_svg,
}
"""Forms of a model that may yet have equations without a solution"""
