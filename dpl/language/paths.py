"""What paths mean: `cart.x`, `T[i+1]`, `cell[i].x`, `aim(w).angle`."""

from __future__ import annotations

from dpl.language import syntax
from dpl.language.calls import Calls
from dpl.language.constants import BadConstant, NotConstant, Number, constant, whole
from dpl.language.diagnostics import Label, did_you_mean, with_article
from dpl.language.indices import Located, indices_in, located, read_shape, shared, without_subscripts
from dpl.language.model import Event, NetworkUse, Scope, Scoped, Variable
from dpl.language.observe import row_help
from dpl.language.reach import astray
from dpl.language.rules import Type, upside_down


class Paths(Calls):
    """Members and elements."""

    def report_event(self, expr: syntax.Expr) -> None:
        name = expr.span.text
        self.report(
            "event-as-value",
            f"`{name}` is an event, which has no value",
            expr.span,
            "used here",
            help=f"a loss or metric may ask `event_time({name})` or `count({name})`",
        )

    def member(self, expr: syntax.Member, scope: Scope) -> Type:
        record = self.record_of(expr.object, scope)
        if record is not None:
            return self.result_of(record, expr, self.infer(expr.object, scope).shape)
        place = located(expr.object, scope)
        holder = place.binding if place is not None else None
        if not isinstance(holder, Scope):
            self.report_no_members(expr, scope)
            return self.open()
        found = holder.names.get(expr.name)
        if place is not None and len(place.subscripts) > len(holder.axes) - shared(scope, holder):
            self.too_many_of_parts(expr.object, place, holder, scope)
            return self.open()
        if isinstance(found, Variable):
            self.cell(found, expr)
            where = located(expr, scope)
            return self.read(where, expr, scope) if where is not None else self.open()
        if isinstance(found, Event):
            self.report_event(expr)
        elif found is None:
            if holder.names or isinstance(holder.item, syntax.Model):
                self.report(
                    "unknown-member",
                    f"`{expr.object.span.text}` has no `{expr.name}`",
                    expr.span,
                    "read here",
                    help=_of_mode(expr.name, holder) or did_you_mean(expr.name, holder.names),
                )
        elif isinstance(found, Scope) and isinstance(found.item, syntax.Constraint):
            help = f"the force that keeps it is `{expr.span.text}.force`"
            self.report("part-as-value", f"`{expr.span.text}` is a constraint", expr.span, "used here", help=help)
        else:
            self.report("not-a-value", f"`{expr.span.text}` is not a quantity", expr.span, "used here")
        return self.open()

    def cell(self, variable: Variable, expr: syntax.Member) -> None:
        """What is read of data must be a number where it is read."""
        column = variable.row or variable
        use = column.data
        if use is None:
            return
        self.system.reads(use)
        text = expr.span.text
        if column.declaration.name == use.group:
            message = f"`{text}` is the label of a group, and no number"
            self.report("label-as-value", message, expr.span, "used here")
        elif column.declaration.name == use.time:
            message = f"`{text}` is the time of a row"
            help_text = "write `time`: the run goes by the time of the data"
            self.report("time-as-value", message, expr.span, "used here", help=help_text)
        elif variable.kind == "column" and use.time is None:
            message = f"`{text}` is another number in each row, and each row is a run"
            help_text = f"write `given row from {use.name}` in the scenario, and read `row.{column.declaration.name}`"
            self.report("column-as-value", message, expr.span, "used here", help=help_text)

    def too_many_of_parts(self, expr: syntax.Expr, found: Located, part: Scope, scope: Scope) -> None:
        axes = len(part.axes) - shared(scope, part)
        message = (
            f"`{without_subscripts(expr).span.text}` is an array of parts with {axes} {'axis' if axes == 1 else 'axes'}"
        )
        if not axes:
            message = f"`{part.path}` is one part and has no index"
        related = (Label(part.span, "made here"),) if part.span else ()
        count = len(found.subscripts)
        given = f"{count} ind{'ex' if count == 1 else 'ices'}"
        self.report("too-many-indices", message, expr.span, given, related=related)

    def report_no_members(self, expr: syntax.Member, scope: Scope) -> None:
        root = expr.object
        while isinstance(root, syntax.Member):
            root = root.object
        if isinstance(root, syntax.Name) and scope.find(root.id) is None:
            way_out = row_help(root.id, expr.name, scope) if root is expr.object else None
            if way_out is None or scope.is_broken(root.id) or did_you_mean(root.id, scope.known()):
                self.infer(root, scope)  # reports the unknown name
            else:
                self.report("unknown-name", f"`{root.id}` is not declared here", root.span, "used here", help=way_out)
            return
        self.infer(expr.object, scope)
        if isinstance(root, syntax.Name) and isinstance(scope.find(root.id), syntax.Task):
            return  # has just been said to be none that is read
        self.report("no-members", f"`{expr.object.span.text}` has no members", expr.span, "read here")

    def record_of(self, expr: syntax.Expr, scope: Scope) -> NetworkUse | None:
        """The network whose several results the expression stands for."""
        match expr:
            case syntax.Call(syntax.Name(name)) if isinstance(scope.find(name), NetworkUse):
                return self.infer(expr, scope).record
            case syntax.Name() | syntax.Member():
                found = located(expr, scope)
                variable = found.binding if found is not None else None
                return self.type_of(variable).record if isinstance(variable, Variable) else None
            case _:
                return None

    def result_of(self, record: NetworkUse, expr: syntax.Member, axes: tuple[int, ...]) -> Type:
        for port in record.outputs:
            if port.name == expr.name:
                return Type(port.dimension, (*axes, *port.shape))
        names = [p.name for p in record.outputs]
        self.report(
            "unknown-member",
            f"the network `{record.item.name}` has no result `{expr.name}`",
            expr.span,
            "read here",
            help=did_you_mean(expr.name, names) or f"it has {', '.join(names)}",
        )
        return self.open()

    def index(self, expr: syntax.Index, scope: Scope) -> Type:
        place = located(expr.object, scope)
        if place is not None and isinstance(place.binding, Scope):
            text = expr.span.text
            self.report(
                "part-as-value", f"`{text}` is a part; what it holds is read as `{text}.name`", expr.span, "used here"
            )
            return self.open()
        before = len(self.problems)
        found = self.infer(expr.object, scope)
        if not found.shape and len(self.problems) > before:
            return self.open()
        if not found.shape:
            self.report(
                "not-an-array",
                f"`{expr.object.span.text}` is one number and has no index",
                expr.span,
                "indexed here",
                help="units stand after numbers only: `5 [m]`" if isinstance(expr.object, syntax.Name) else None,
            )
            return self.open()
        if len(expr.subscripts) > len(found.shape):
            self.report(
                "too-many-indices",
                f"`{expr.object.span.text}` has {len(found.shape)} {'axis' if len(found.shape) == 1 else 'axes'}",
                expr.span,
                f"{len(expr.subscripts)} indices",
            )
            return self.open()
        return Type(found.dimension, self.subscripted(found.shape, expr.subscripts, scope))

    def read(self, found: Located, expr: syntax.Expr, scope: Scope) -> Type:
        """What a path names, through arrays of parts: `x`, `cell.x`, `cell[i].x`."""
        assert isinstance(found.binding, Variable)
        variable = found.binding
        type_ = self.type_of(variable)
        shape = self.subscripted(read_shape(variable, scope), found.subscripts, scope)
        return Type(type_.dimension, shape, record=type_.record)

    def subscripted(
        self, shape: tuple[int, ...], subscripts: tuple[syntax.Expr | None, ...], scope: Scope
    ) -> tuple[int, ...]:
        """The shape of what subscripts leave of an array; an axis without one, or with None, is left whole."""
        left: list[int] = []
        for subscript, size in zip(subscripts, shape, strict=False):
            if subscript is None:
                left.append(size)
            elif isinstance(subscript, syntax.Range):
                left.append(self.slice(subscript, size, scope))
            else:
                self.subscript(subscript, size, scope)
        return (*left, *shape[len(subscripts) :])

    def slice(self, expr: syntax.Range, size: int, scope: Scope) -> int:
        """How many elements a slice has."""
        if indices_in(expr, scope):
            self.report(
                "slice-of-index",
                "a slice has the same ends for all indices",
                expr.span,
                "moves with an index",
                help="count what is in it with an index of its own: `sum(T[i+j] for j in 0..2)`",
            )
            return size
        low = self.constant_subscript(expr.low, size, scope)
        high = self.constant_subscript(expr.high, size, scope) if expr.high else size - 1
        if low is None or high is None:
            return size
        if high < low:
            self.problems.append(upside_down(expr))
        return max(1, high - low + 1)

    def subscript(self, expr: syntax.Expr, size: int, scope: Scope) -> None:
        names = indices_in(expr, scope)
        if not names:
            self.constant_subscript(expr, size, scope)
            return
        if not self.counts(expr, size, scope):
            return
        try:
            found = astray(expr, scope, size)
        except NotConstant as error:
            self.not_a_subscript(error.node, scope)
        except BadConstant as error:
            self.problems.append(error.diagnostic)
        else:
            if found is not None:
                value, at = found
                where = ", ".join(f"{index.name} = {number}" for index, number in at.items())
                self.out_of_range(expr, value, size, f" for {where}")

    def counts(self, expr: syntax.Expr, size: int, scope: Scope) -> bool:
        """Whether a subscript is a pure number made of known names; reported if it is not."""
        before, outside = len(self.problems), self.counted_to
        self.counted_to = size - 1
        self.must_be_pure(self.infer(expr, scope), expr.span, "an index")
        self.counted_to = outside
        return len(self.problems) == before

    def out_of_range(self, expr: syntax.Expr, value: Number, size: int, where: str = "") -> None:
        """`where` tells for which indices the subscript has the value."""
        label = f"is {float(value):g}{where}"
        if not whole(value):
            self.report("bad-index", "an index is a whole number", expr.span, label, help="round it: `floor(…)`")
            return
        help_text = f"elements count from 0: the last is {size - 1}"
        if where:
            help_text = "narrow the range of the index, and give the elements left over an equation of their own"
            if isinstance(expr, syntax.Binary):
                help_text += f"; `mod({expr.span.text}, {size})` goes round"
        self.report("index-out-of-range", f"indices here run from 0 to {size - 1}", expr.span, label, help=help_text)

    def not_a_subscript(self, node: syntax.Expr, scope: Scope) -> None:
        """A subscript that is not known beforehand. What a state picks would change as the run goes on, and with it
        which element a derivative belongs to."""
        if isinstance(node, syntax.Name) and (node.id, node.span.origin) in self.uncounted:
            return
        found = located(node, scope)
        variable = found.binding if found is not None and isinstance(found.binding, Variable) else None
        what = "is not a constant"
        help_text = "write indices, numbers and `const`s: `T[i+1]`, `T[mod(i+1, n)]`, `x[neighbour[i]]`"
        if variable is not None and variable.kind != "const":
            what, name = f"is {with_article(variable.word)}", node.span.text
            help_text = f"to pick by a value add up what is picked: `sum(if {name} == j then T[j] else 0 for j in …)`"
        message = "an index must be known when the model is compiled"
        self.report("not-constant", message, node.span, what, help=help_text)

    def constant_subscript(self, expr: syntax.Expr, size: int, scope: Scope) -> int | None:
        if not self.counts(expr, size, scope):
            return None
        try:
            value = constant(Scoped(expr, scope))
        except NotConstant as error:
            self.not_a_subscript(error.node, scope)
            return None
        except BadConstant as error:
            self.problems.append(error.diagnostic)
            return None
        if not whole(value) or not 0 <= value < size:
            self.out_of_range(expr, value, size)
            return None
        return int(value)


def _of_mode(word: str, holder: Scope) -> str | None:
    """What to write where a mode is asked for as if it were a value."""
    modes = [m for m in getattr(holder.item, "body", ()) if isinstance(m, syntax.Mode) and word in m.names]
    return f"`{word}` is a mode; a value that tells it is an `output` with an equation in each mode" if modes else None
