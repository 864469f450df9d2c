"""What a task cannot do without, and what does not go together."""

from __future__ import annotations

from dpl.language import fits, records, suggest
from dpl.language.builtins import OPTIMISERS
from dpl.language.clauses import LARGEST_COUNT, Reading
from dpl.language.diagnostics import Label


def check_demands(reading: Reading) -> None:
    """Report what is missing in a task whose clauses are read, and what contradicts itself."""
    item, words = reading.item, reading.clauses
    optimises = ("vary", "minimize")
    wanted = {"train": optimises, "optimize": optimises, "verify": ("expect",)}.get(item.kind, ())
    for word in wanted:
        if word not in words and not (word == "minimize" and "maximize" in words):
            reading.missing(f"the task `{item.name}` says no `{word}`", "declared here", f"write `{word} …`")
    if "minimize" in words and "maximize" in words:
        reading.refuse(f"`{item.name}` both minimises and maximises", "says both", "say one expression to minimise")
    match item.kind:
        case "evaluate":
            _tabulated(reading)
        case "train":
            _trained(reading)
        case "optimize":
            _squared(reading)
            _constrained(reading)
        case "fit":
            fits.check_fit(reading)
        case "record":
            records.check_record(reading)
        case "suggest":
            suggest.check_suggest(reading)
        case _:
            pass


def _tabulated(reading: Reading) -> None:
    if reading.system.measures:
        return
    message = f"scenario `{reading.system.name}` has neither loss nor metric to tabulate"
    help_text = "declare `metric name = …` in the scenario"
    reading.inference.report("no-measure", message, reading.place("on"), "named here", help=help_text)


def _trained(reading: Reading) -> None:
    counts, fixed, method = reading.counts, reading.fixed, reading.method
    if "epochs" in counts and "steps" in counts:
        reading.refuse("say either how many `steps` or how many `epochs`", "says both", None)
    if "epochs" in counts and not fixed:
        reading.missing("`epochs` go through fixed samples", "has none", "write `samples 1_000 fixed`")
    if "samples" in counts and not fixed:
        reading.inference.report(
            "misplaced-clause",
            "`train` draws fresh samples at each step: `batch` says how many",
            reading.place("samples"),
            "says `samples`",
            help="write `samples N fixed` to draw once",
        )
    if fixed and counts.get("batch", 0) > counts.get("samples", LARGEST_COUNT):
        reading.refuse(
            f"a batch of {counts['batch']} is more than all {counts['samples']} fixed samples",
            "larger than there are runs",
            "make `batch` smaller, or leave it out",
            "batch",
        )
    if method is not None and not method.row.stochastic:
        fit = ", ".join(name for name, row in OPTIMISERS.items() if row.stochastic)
        reading.inference.report(
            "unfit-optimiser",
            f"`{method.row.name}` needs the same runs at each step, and `train` draws fresh ones",
            reading.place("using"),
            "named here",
            help=f"write `optimize` to use it; `train` takes {fit}",
        )


def _squared(reading: Reading) -> None:
    """Gauss-Newton methods minimise sums of squares."""
    method, objective = reading.method, reading.objective
    squares = objective.squares if objective is not None else None
    for square in squares or ():
        if square.measure is not None:
            reading.system.squares.setdefault(square.key, square)
    if method is None or not method.row.squares or objective is None or squares is not None:
        return
    reading.inference.report(
        "not-a-sum-of-squares",
        f"`{method.row.name}` minimises a sum of squares",
        objective.goal.value.span,
        "is not evidently one",
        related=(Label(reading.place("using"), "asked for here"),),
        help="write a square, such as `minimize error²`, or take `using lbfgs`",
    )


def _constrained(reading: Reading) -> None:
    """Between two updates of the multipliers a method must converge."""
    method = reading.method
    if method is None or not method.row.stochastic or not reading.constraints:
        return
    fit = ", ".join(name for name, row in OPTIMISERS.items() if not row.stochastic)
    reading.inference.report(
        "unfit-optimiser",
        f"`{method.row.name}` does not converge well enough for `subject to`",
        reading.place("using"),
        "named here",
        related=(Label(reading.place("subject to"), "the constraints"),),
        help=f"take {fit}, or leave `using` out",
    )
