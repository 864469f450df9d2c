"""The clauses that each task takes; those of one task, held against them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from dpl.language import syntax
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.infer import Inference
from dpl.language.model import Annealed, Comparison, MethodUse, NetworkUse, Objective, System, VariedQuantity, WindowUse
from dpl.language.settings import Reader
from dpl.language.source import Span

CLAUSES: dict[str, tuple[str, ...]] = {
    "simulate": ("on", "points", "seed", "plot"),
    "train": tuple(
        "on vary minimize maximize using batch steps epochs samples seed start starts until window anneal plot".split()
    ),
    "optimize": (
        *("on", "vary", "minimize", "maximize", "subject to"),
        *("using", "steps", "samples", "seed", "start", "starts", "until", "plot"),
    ),
    "fit": (
        *("on", "vary", "using", "steps", "seed", "start", "starts", "plot", "window"),
        *("without", "hold out", "hold out after", "profile", "bootstrap"),
    ),
    "record": ("on", "samples", "every", "points", "seed"),
    "verify": ("on", "expect", "samples", "seed"),
    "evaluate": ("on", "samples", "seed", "plot"),
    "compare": ("on", "show", "samples", "seed"),
    "suggest": ("on", "of", "terms"),
    "refine": ("on", "repeat", "rounds", "show", "samples", "seed"),
}
"""The tasks, and the clauses that each takes"""

LARGEST_COUNT = 10**9
LEAST_COUNTS = {"seed": 0, "bootstrap": 20}
"""Where 1 is not the least that makes sense"""
_REPEATED = ("expect", "subject to", "vary", "plot", "anneal", "profile")
"""Clauses of which there may be several"""
_LIKELIHOOD = "`fit` minimises how unlikely the observations are; `optimize` takes an objective of your own"
_WAYS_OUT = {
    ("train", "subject to"): "write `optimize`, which keeps to constraints",
    ("optimize", "batch"): "`optimize` meets all its `samples` in each step; `train` draws fresh runs in batches",
    ("optimize", "epochs"): "`optimize` meets all its `samples` in each step: say how many `steps`",
    ("optimize", "anneal"): "write `train`, which leads a param along its steps",
    ("optimize", "window"): "write `train`, which learns in windows",
    ("evaluate", "expect"): "write `verify`, which passes or fails",
    ("fit", "minimize"): _LIKELIHOOD,
    ("fit", "maximize"): _LIKELIHOOD,
    ("fit", "subject to"): "give what varies a range, `vary k in 0..1`; `optimize` keeps to constraints",
    ("fit", "samples"): "`fit` meets every run of the data; `hold out 2` keeps the last two aside",
    ("fit", "batch"): "`fit` meets every run of the data in each step",
    ("fit", "epochs"): "`fit` meets every run of the data in each step: say how many `steps`",
    ("fit", "until"): "`fit` stops by itself where nothing gets likelier; `steps` says when at the latest",
    ("fit", "points"): "`fit` looks at the times of the data",
    ("record", "steps"): "say how often, `every 0.1 [s]`, or how many intervals, `points 50`",
    ("record", "vary"): "`record` only measures; `fit` finds values from what it recorded",
    ("refine", "vary"): "the tasks that it repeats vary what they say: `repeat …`",
    ("refine", "steps"): "say how many `rounds`; the tasks that it repeats say their own `steps`",
}


def word_of(clause: syntax.Clause) -> str:
    """The word that opens a clause."""
    match clause:
        case syntax.Goal():
            return clause.sense
        case syntax.Count():
            return clause.word
        case syntax.Subject():
            return "subject to"
        case syntax.TrainingWindow():
            return "window"
        case syntax.HoldOut():
            return "hold out" if clause.after is None else "hold out after"
        case syntax.Sampled():
            return "every"
        case _:
            return type(clause).__name__.lower()


def fitting(item: syntax.Task, problems: list[Diagnostic]) -> dict[str, syntax.Clause]:
    """By word the clauses that the task takes, of several the first; what it does not take is reported."""
    allowed, seen = CLAUSES[item.kind], dict[str, syntax.Clause]()
    for clause in item.clauses:
        word = word_of(clause)
        if word not in allowed:
            message = f"`{item.kind}` takes no `{word}`"
            way_out = _WAYS_OUT.get((item.kind, word), f"it takes {', '.join(allowed)}")
            problems.append(Diagnostic("misplaced-clause", message, Label(clause.span, "said here"), help=way_out))
            continue
        if word in seen and word not in _REPEATED:
            first = (Label(seen[word].span, "first said here"),)
            problems.append(
                Diagnostic("said-twice", f"`{word}` is said twice", Label(clause.span, "said again here"), first)
            )
        seen.setdefault(word, clause)
    return seen


def read_count(clause: syntax.Count, problems: list[Diagnostic]) -> int | None:
    """What a count says: `steps 2_000`, `samples 1_000 fixed`."""
    least = LEAST_COUNTS.get(clause.word, 1)
    if clause.value.denominator != 1 or not least <= clause.value <= LARGEST_COUNT:
        limits = f"`{clause.word}` is a whole number from {least} to {LARGEST_COUNT:_}"
        few = "a 95 % interval leaves out 2.5 % of the refits at each end, which so few do not tell; 200 are usual"
        help_text = few if clause.word == "bootstrap" else None
        problems.append(Diagnostic("bad-count", limits, Label(clause.span, "is not"), help=help_text))
        return None
    if clause.modifier is not None and (clause.word, clause.modifier) != ("samples", "fixed"):
        message = f"`{clause.word}` takes no `{clause.modifier}`"
        problems.append(Diagnostic("unknown-option", message, Label(clause.span, "said here")))
    return int(clause.value)


@dataclass
class Reading:
    """One task while it is read: its scenario, and what its clauses said so far.

    `sound`: the scenario is right so far, so that its equations can be asked.
    """

    item: syntax.Task
    inference: Inference
    sound: bool
    clauses: dict[str, syntax.Clause]
    """By word; of those that may be said several times the first"""

    varied: list[syntax.Varied] = field(default_factory=list[syntax.Varied])
    vary: tuple[VariedQuantity, ...] = ()
    objective: Objective | None = None
    constraints: list[Comparison] = field(default_factory=list[Comparison])
    expectations: list[Comparison] = field(default_factory=list[Comparison])
    until: Comparison | None = None
    window: WindowUse | None = None
    anneal: dict[str, Annealed] = field(default_factory=dict[str, Annealed])
    method: MethodUse | None = None
    counts: dict[str, int] = field(default_factory=dict[str, int])
    fixed: bool = False
    start: str = "current"
    plot: dict[str, None] = field(default_factory=dict[str, None])
    priors: bool = True
    hold_out: int = 0
    hold_after: float | None = None
    span: float | None = None
    profile: dict[str, None] = field(default_factory=dict[str, None])
    every: float | None = None
    network: NetworkUse | None = None

    @property
    def system(self) -> System:
        return self.inference.system

    def place(self, word: str) -> Span:
        """Where the clause of that word stands."""
        return self.clauses[word].span

    def span_of_time(self, expr: syntax.Expr, what: str, rule: str) -> Fraction | None:
        """A length of time [s] above 0; None if it is none, which is reported: as `rule` says, where it is not."""
        found = Reader(self.inference, self.system.root).time(expr, what)
        if found is not None and found <= 0:
            self.inference.report("not-positive", rule, expr.span, "is not above 0")
            return None
        return found

    def missing(self, message: str, label: str, way_out: str) -> None:
        self.inference.report("missing-clause", message, self.item.name_span, label, help=way_out)

    def refuse(self, message: str, label: str, way_out: str | None, word: str | None = None) -> None:
        place = self.place(word) if word else self.item.name_span
        self.inference.report("contradiction", message, place, label, help=way_out)
