"""`observe` and `given … from` as they are elaborated: which data, which column, which row."""

from __future__ import annotations

from dpl.language import syntax
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean, with_article
from dpl.language.model import DataUse, Observation, Scope, Scoped, System, Variable, named
from dpl.language.source import Span
from dpl.language.units import read_unit


def row_scope(statement: syntax.GivenRow, scope: Scope, system: System, problems: list[Diagnostic]) -> Scope:
    """What `given r from theoph` binds: a given for each column."""
    use = _data_named(statement.data, scope)
    if use is None:
        if not scope.is_broken(statement.data):
            place = Span(statement.span.source, statement.span.end - len(statement.data), statement.span.end)
            problems.append(_unknown_data(statement.data, place, scope))
        return Scope(statement.name, syntax.File(statement.span.source, None, ()), None, span=statement.name_span)
    row = Scope(statement.name, statement, None, span=statement.name_span, data=use)
    for name, column in use.scope.names.items():
        assert isinstance(column, Variable)
        declaration = syntax.Declaration("given", name, statement.name_span, span=statement.span)
        given = Variable(row.join(name), "given", declaration, row, column.unit, row=column)
        row.names[name] = given
        system.variables.append(given)
    system.reads(use)
    if use.time is not None and use.group is None:
        message = f"`{use.name}` is of one run, whose rows differ in time: no row is given"
        help_text = f"read a column as a function of time, `{use.name}.name`, or say which column is the group"
        problems.append(Diagnostic("row-of-times", message, Label(statement.span, "asks for a row"), help=help_text))
    return row


def observation(
    statement: syntax.Observe, scope: Scope, system: System, problems: list[Diagnostic]
) -> Observation | None:
    """What `observe` says, less what its distribution does; None where its target is none."""
    unit = read_unit(statement.unit, problems) if statement.unit else None
    column = None
    if not isinstance(statement.target, syntax.Name):
        column = _column(statement.target, scope, system, problems)
        if column is None:
            return None
        unit = column.unit
        if statement.unit is not None:
            message = f"`{column.path}` has its unit where it is declared"
            problems.append(Diagnostic("misplaced", message, Label(statement.unit.span, "said again here")))
    elif not _is_new(statement.target, scope, problems):
        return None
    name = column.path if column is not None else statement.target.span.text
    found = Observation(statement, scope, name, "", (), column.data if column else None, column, unit)
    found.below = Scoped(statement.below, scope, unit) if statement.below else None
    found.above = Scoped(statement.above, scope, unit) if statement.above else None
    first = next((o for o in system.observations if o.name == name), None)
    if first is not None and column is not None:
        message, related = f"`{name}` is observed twice", (Label(first.item.target.span, "first observed here"),)
        problems.append(Diagnostic("set-twice", message, Label(statement.target.span, "observed again here"), related))
    return found


def _column(target: syntax.Expr, scope: Scope, system: System, problems: list[Diagnostic]) -> Variable | None:
    """The column that `pelts.hare` or `row.hare` names."""
    if not isinstance(target, syntax.Member) or not isinstance(target.object, syntax.Name | syntax.Member):
        message = "what is observed is a column of data, or the new name of a sensor"
        help_text = "write `observe data.column ~ …`, or `observe name ~ …` for a sensor"
        problems.append(Diagnostic("not-observable", message, Label(target.span, "is neither"), help=help_text))
        return None
    text = target.object.span.text
    holder = named(target.object, scope)
    use = holder.data if isinstance(holder, Scope) else None
    if not isinstance(holder, Scope) or use is None:
        if holder is None and not scope.is_broken(text.partition(".")[0]):
            problems.append(_unknown_data(text, target.object.span, scope, target.name))
        elif holder is not None and not (isinstance(holder, Scope) and isinstance(holder.item, syntax.File)):
            problems.append(_not_data(target.span.text, target.span))
        return None
    system.reads(use)
    found = holder.names.get(target.name)
    columns = [name for name in use.scope.names if name not in (use.time, use.group)]
    if not isinstance(found, Variable):
        if use.broken:
            return None
        help_text = did_you_mean(target.name, columns) or f"it has {', '.join(columns)}"
        message = f"`{use.name}` has no column `{target.name}`"
        problems.append(Diagnostic("unknown-column", message, Label(target.span, "observed here"), help=help_text))
        return None
    if target.name in (use.time, use.group):
        what = "time" if target.name == use.time else "group"
        message = f"`{target.span.text}` is the {what} of a row, which is not observed"
        problems.append(Diagnostic("not-observable", message, Label(target.span, f"is the {what}")))
        return None
    return found.row or found


def _is_new(target: syntax.Name, scope: Scope, problems: list[Diagnostic]) -> bool:
    """A sensor has a name of its own."""
    found = scope.find(target.id)
    if isinstance(found, Variable):
        message = f"`{target.id}` is {with_article(found.word)} of the model: a sensor has a name of its own"
        help_text = (
            f"write `observe {target.id}_measured ~ …`, or observe a column of data: `observe data.{target.id} ~ …`"
        )
        related = (Label(found.span, "declared here"),)
        problems.append(Diagnostic("not-observable", message, Label(target.span, "observed here"), related, help_text))
        return False
    if isinstance(found, Scope) and found.data is not None:
        columns = [name for name in found.data.scope.names if name not in (found.data.time, found.data.group)]
        message = f"`{target.id}` is data: what is observed is one of its columns"
        help_text = f"write `observe {target.id}.{(columns or ['name'])[0]} ~ …`"
        problems.append(Diagnostic("not-observable", message, Label(target.span, "observed here"), help=help_text))
        return False
    return True


def _data_named(name: str, scope: Scope) -> DataUse | None:
    found = scope.find(name)
    return found.data if isinstance(found, Scope) and not isinstance(found.item, syntax.GivenRow) else None


def row_help(name: str, column: str, scope: Scope) -> str | None:
    """What to write where `name.column` is read and nothing is called so: rows of data with such a column."""
    for data in scope.known():
        use = _data_named(data, scope)
        if use is not None and column in use.scope.names:
            return f"write `given {name} from {data}` in the scenario: `{name}` is then a row of the data `{data}`"
    return None


def _unknown_data(name: str, place: Span, scope: Scope, column: str = "") -> Diagnostic:
    known = [n for n in scope.known() if _data_named(n, scope) is not None]
    if scope.find(name.partition(".")[0]) is not None:
        return _not_data(name, place)
    help_text = (
        did_you_mean(name, known)
        or row_help(name, column, scope)
        or (f"there is {', '.join(known)}" if known else None)
    )
    help_text = help_text or f'declare it: `data {name}(time: s as time, x) from "{name}.csv"`'
    return Diagnostic("unknown-data", f"there is no data `{name}`", Label(place, "named here"), help=help_text)


def _not_data(text: str, place: Span) -> Diagnostic:
    message = f"`{text}` names no column of data" if "." in text else f"`{text}` is not data"
    help_text = "data are declared outside of blocks: `data name(columns) from …`; a sensor has one new name"
    return Diagnostic("not-data", message, Label(place, "named here"), help=help_text)
