"""One row per function, reduction, distribution and method of the language.

A row says all that any stage needs: arity, dimension rule, smoothness, the SymPy form, the JAX form and one line
for the reference. Forms are names only, so this module needs neither SymPy nor JAX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rule = Literal[
    "pure",  # every argument pure, result pure
    "same",  # every argument of one dimension, which is the result's
    "ratio",  # every argument of one dimension, result pure
    "sqrt",
    "cbrt",
    "square",  # every argument of one dimension, result its square
    "product",  # result is the product of the arguments' dimensions
    "choice",  # (scores, values, …): result like values, all else pure
    "table",  # (x, xs, ys): x like xs, result like ys
    "special",  # `units.py` knows
]

Smoothness = Literal[
    "smooth",
    "kink",  # continuous, derivative jumps
    "flat",  # derivative zero wherever it exists
]


@dataclass(frozen=True)
class Builtin:
    """`arity` counts arguments: least and most (None: any number)."""

    name: str
    arity: tuple[int, int | None]
    rule: Rule
    smoothness: Smoothness
    sympy: str | None
    """Name of SymPy's function where its algebra is wanted; None keeps the call opaque."""
    jax: str
    """Dotted name in the generated module: `jnp.exp`, or `dpl.sin` of `runtime/functions.py`."""
    doc: str
    shape: Literal["elementwise", "reduce", "special"] = "elementwise"
    names: tuple[str, ...] = ()
    """Of its arguments, where a call may say them"""


def _row(
    name: str,
    arity: int | tuple[int, int | None],
    rule: Rule,
    smoothness: Smoothness,
    sympy: str | None,
    jax: str,
    doc: str,
    shape: Literal["elementwise", "reduce", "special"] = "elementwise",
    names: tuple[str, ...] = (),
) -> Builtin:
    return Builtin(
        name, arity if isinstance(arity, tuple) else (arity, arity), rule, smoothness, sympy, jax, doc, shape, names
    )


FUNCTIONS: dict[str, Builtin] = {
    row.name: row
    for row in (
        _row("exp", 1, "pure", "smooth", "exp", "jnp.exp", "e to the power x"),
        _row("log", 1, "pure", "smooth", "log", "jnp.log", "natural logarithm"),
        _row("log10", 1, "pure", "smooth", None, "jnp.log10", "logarithm to base 10"),
        _row("log2", 1, "pure", "smooth", None, "jnp.log2", "logarithm to base 2"),
        _row("sqrt", 1, "sqrt", "smooth", "sqrt", "dpl.sqrt", "square root; its derivative at 0 is taken as 0"),
        _row("cbrt", 1, "cbrt", "smooth", None, "dpl.cbrt", "real cube root"),
        _row("abs", 1, "same", "kink", None, "jnp.abs", "absolute value"),
        _row("sign", 1, "ratio", "flat", None, "jnp.sign", "-1, 0 or 1"),
        _row("floor", 1, "pure", "flat", None, "jnp.floor", "largest integer not above x"),
        _row("ceil", 1, "pure", "flat", None, "jnp.ceil", "smallest integer not below x"),
        _row("round", 1, "pure", "flat", None, "jnp.round", "nearest integer, halves to even"),
        _row("mod", 2, "same", "kink", None, "jnp.mod", "remainder with the sign of the divisor"),
        _row("min", (1, None), "same", "kink", None, "jnp.minimum", "least of its arguments, or of an array"),
        _row("max", (1, None), "same", "kink", None, "jnp.maximum", "greatest of its arguments, or of an array"),
        _row("clip", 3, "same", "kink", None, "dpl.clip", "clip(x, low, high)"),
        _row("hypot", 2, "same", "smooth", None, "dpl.hypot", "square root of x² + y²"),
        _row("sin", 1, "pure", "smooth", "sin", "dpl.sin", "sine"),
        _row("cos", 1, "pure", "smooth", "cos", "dpl.cos", "cosine"),
        _row("tan", 1, "pure", "smooth", "tan", "dpl.tan", "tangent"),
        _row("asin", 1, "pure", "smooth", "asin", "dpl.asin", "inverse sine"),
        _row("acos", 1, "pure", "smooth", "acos", "dpl.acos", "inverse cosine"),
        _row("atan", 1, "pure", "smooth", "atan", "dpl.atan", "inverse tangent"),
        _row("atan2", 2, "ratio", "smooth", None, "dpl.atan2", "atan2(y, x): angle of the point (x, y)"),
        _row("sinh", 1, "pure", "smooth", "sinh", "jnp.sinh", "hyperbolic sine"),
        _row("cosh", 1, "pure", "smooth", "cosh", "jnp.cosh", "hyperbolic cosine"),
        _row("tanh", 1, "pure", "smooth", "tanh", "jnp.tanh", "hyperbolic tangent"),
        _row("asinh", 1, "pure", "smooth", "asinh", "jnp.arcsinh", "inverse hyperbolic sine"),
        _row("acosh", 1, "pure", "smooth", "acosh", "jnp.arccosh", "inverse hyperbolic cosine"),
        _row("atanh", 1, "pure", "smooth", "atanh", "jnp.arctanh", "inverse hyperbolic tangent"),
        _row("wrap", 1, "pure", "smooth", None, "dpl.wrap", "the angle brought into -π..π"),
        _row("sigmoid", 1, "pure", "smooth", None, "dpl.sigmoid", "1/(1 + exp(-x))"),
        _row("softplus", 1, "pure", "smooth", None, "dpl.softplus", "log(1 + exp(x))"),
        _row("relu", 1, "same", "kink", None, "dpl.relu", "x where positive, else 0"),
        _row("erf", 1, "pure", "smooth", None, "dpl.erf", "error function"),
        _row("gamma", 1, "pure", "smooth", None, "dpl.gamma", "gamma function"),
        _row("lgamma", 1, "pure", "smooth", None, "dpl.lgamma", "logarithm of the gamma function's magnitude"),
        _row("step", 1, "ratio", "flat", None, "dpl.step", "1 where x is positive, else 0"),
        _row("huber", 2, "square", "smooth", None, "dpl.huber", "huber(e, scale): e²/2 within scale, linear beyond"),
        _row("sum", 1, "same", "smooth", None, "jnp.sum", "sum of an array", "reduce"),
        _row("mean", 1, "same", "smooth", None, "jnp.mean", "mean of an array", "reduce"),
        _row("product", 1, "pure", "smooth", None, "jnp.prod", "product of a pure array", "reduce"),
        _row("norm", 1, "same", "smooth", None, "dpl.norm", "Euclidean length of an array", "reduce"),
        _row("dot", 2, "product", "smooth", None, "jnp.dot", "scalar product of two vectors", "special"),
        _row(
            "conv", 2, "product", "smooth", None, "dpl.conv",
            "conv(image, kernel): at each place where the kernel fits into the image, the sum of products of the two "
            "(as in machine learning: the kernel is not turned round)",
            "special",
        ),
        _row("transpose", 1, "same", "smooth", None, "jnp.transpose", "transpose of a matrix", "special"),
        _row(
            "interpolate", 3, "table", "kink", None, "dpl.interpolate", "interpolate(x, xs, ys): linear between points",
            "special",
        ),
        _row(
            "choose", (2, 3), "choice", "smooth", None, "dpl.pick",
            "choose(scores, values, temperature = 1): the value whose score is greatest; the derivative is that of the "
            "values weighted by softmax(scores/temperature)",
            "special", ("scores", "values", "temperature"),
        ),
        _row(
            "straight_through", 1, "special", "smooth", None, "dpl.straight_through",
            "straight_through(f(z)): value of f(z), derivative of z", "special",
        ),
        _row(
            "surrogate", 2, "same", "smooth", None, "dpl.straight_through",
            "surrogate(exact, smooth): value of exact, derivative of smooth", "special",
        ),
        _row(
            "smooth", 2, "special", "smooth", None, "dpl.smooth",
            "smooth(e, width): e with its jumps and kinks rounded over width", "special",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class TimeReduction:
    """A reduction of a run to one number. `arguments` beyond the reduced expression."""

    name: str
    arguments: tuple[str, ...]
    result: Literal["same", "times time", "pure", "time"]
    reads: Literal["quadrature", "instant", "record", "event"]
    condition: bool
    smoothness: Smoothness
    doc: str
    optional: int = 0
    """How many of the arguments, the last ones, may be left out"""


TIME_REDUCTIONS: dict[str, TimeReduction] = {
    row.name: row
    for row in (
        TimeReduction("initial", (), "same", "instant", False, "smooth", "the value at the start"),
        TimeReduction("final", (), "same", "instant", False, "smooth", "the value at the end"),
        TimeReduction("value_at", ("t",), "same", "record", False, "smooth", "value_at(e, t): the value at time t"),
        TimeReduction("average", (), "same", "quadrature", False, "smooth", "the integral over the run's length"),
        TimeReduction("integral", (), "times time", "quadrature", False, "smooth", "the integral over time"),
        TimeReduction("peak", (), "same", "record", False, "kink", "the greatest value"),
        TimeReduction("lowest", (), "same", "record", False, "kink", "the least value"),
        TimeReduction("fraction", (), "pure", "record", True, "flat", "the share of time in which a condition holds"),
        TimeReduction(
            "settling_time", ("goal", "band"), "time", "record", False, "kink",
            "settling_time(e, goal, band): from when on e stays within band of goal",
        ),
        TimeReduction(
            "event_time", ("k",), "time", "event", False, "smooth",
            "event_time(landing, k): when it happens for the k-th time, the first if `k` is left out", optional=1,
        ),
        TimeReduction("count", (), "pure", "event", False, "flat", "count(landing): how often the event happens"),
    )
}  # fmt: skip

RUN_REDUCTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "mean": ((), "the mean over runs"),
    "median": ((), "the middle run"),
    "max": ((), "the worst of the runs, if large is bad"),
    "min": ((), "the least of the runs"),
    "quantile": (("share",), "quantile(e, 0.9): 90 % of the runs are below"),
    "cvar": (("share",), "cvar(e, 0.9): the mean of the runs at or above that quantile, the worst 10 %"),
    "sd": ((), "the standard deviation over runs"),
}
"""Reductions over runs, in tasks: further arguments, and what they are."""


@dataclass(frozen=True)
class Distribution:
    """`arguments`: name, and whether it is in the unit of what is drawn (else pure)."""

    name: str
    arguments: tuple[tuple[str, bool], ...]
    positive: tuple[str, ...]
    """Arguments that must be above 0"""
    doc: str
    scale: str | None = None
    """The argument that `observe` may leave out, to be estimated"""
    standard: str | None = None
    """What `noise` makes it of: standard draws (`runtime/noise.py`) that its arguments move and stretch"""


DISTRIBUTIONS: dict[str, Distribution] = {
    row.name: row
    for row in (
        Distribution("normal", (("mean", True), ("sd", True)), ("sd",), "bell curve", "sd", "normal"),
        Distribution(
            "lognormal", (("median", True), ("spread", False)), ("median", "spread"), "log is normal", "spread",
            "normal",
        ),
        Distribution("uniform", (("low", True), ("high", True)), (), "flat between two bounds", standard="uniform"),
        Distribution("student", (("mean", True), ("sd", True), ("df", False)), ("sd", "df"), "heavy tails", "sd"),
        Distribution("poisson", (("mean", False),), ("mean",), "counts"),
        Distribution("negative_binomial", (("mean", False), ("size", False)), ("mean", "size"), "overdispersed counts"),
        Distribution("bernoulli", (("p", False),), (), "1 with probability p, else 0"),
        Distribution("beta", (("a", False), ("b", False)), ("a", "b"), "shares between 0 and 1"),
        Distribution("exponential", (("mean", True),), ("mean",), "waiting times", standard="exponential"),
        Distribution(
            "gumbel", (("location", True), ("scale", True)), ("scale",),
            "the greatest of many; added to scores, it draws one of several in proportion to exp(score)",
            standard="gumbel",
        ),
    )
}  # fmt: skip

ACTIVATIONS = ("tanh", "relu", "sigmoid", "softplus", "gelu", "silu", "sin")


ArgumentKind = Literal[
    "time",  # above 0
    "positive",
    "nonnegative",
    "share",  # from 0 to below 1
    "part",  # from 0 to 1
    "decay",  # one of `DECAYS`
]


@dataclass(frozen=True)
class MethodRow:
    """A solver or an optimiser: its arguments in order, with their kind."""

    name: str
    arguments: tuple[tuple[str, ArgumentKind], ...]
    required: int
    doc: str
    stochastic: bool = True
    """Of an optimiser: whether it bears other runs at each step, as `train` draws them"""
    squares: bool = False
    """Of an optimiser: whether it needs a sum of squares"""


SOLVERS: dict[str, MethodRow] = {
    row.name: row
    for row in (
        MethodRow("euler", (("step", "time"),), 1, "explicit Euler, order 1, fixed steps"),
        MethodRow(
            "semi_implicit", (("step", "time"),), 1, "semi-implicit Euler, order 1: rates first, then what they move"
        ),
        MethodRow("midpoint", (("step", "time"),), 1, "explicit midpoint, order 2, fixed steps"),
        MethodRow("rk4", (("step", "time"),), 1, "classical Runge-Kutta, order 4, fixed steps"),
        *(
            MethodRow(name, (("rtol", "positive"), ("atol", "positive"), ("max_steps", "positive")), 0, doc)
            for name, doc in (
                ("tsit5", "Tsitouras 5(4), adaptive: the default for smooth problems"),
                ("dopri5", "Dormand-Prince 5(4), adaptive"),
                ("dopri8", "Dormand-Prince 8(7), adaptive: for tight tolerances"),
                (
                    "rodas5p",
                    "Rodas5P, linearly implicit (Rosenbrock), order 5(4), adaptive: the default for stiff problems",
                ),
                ("kvaerno5", "Kvaerno 5(4), implicit with Newton's method, adaptive: for stiff problems"),
            )
        ),
    )
}


def _first_order(name: str, doc: str, *own: tuple[str, ArgumentKind]) -> MethodRow:
    """An optimiser that follows the gradient, at a rate that may change along the way."""
    schedule: tuple[tuple[str, ArgumentKind], ...] = (
        ("decay", "decay"),
        ("final", "part"),
        ("warmup", "share"),
        ("clip", "positive"),
    )
    return MethodRow(name, (("rate", "positive"), *own, *schedule), 0, doc)


OPTIMISERS: dict[str, MethodRow] = {
    row.name: row
    for row in (
        _first_order("adam", "Kingma and Ba 2015", ("b1", "share"), ("b2", "share"), ("eps", "positive")),
        _first_order(
            "adamw", "Adam with decoupled weight decay, Loshchilov and Hutter 2019",
            ("b1", "share"), ("b2", "share"), ("eps", "positive"), ("weight_decay", "nonnegative"),
        ),
        _first_order(
            "nadam", "Adam with Nesterov's momentum, Dozat 2016",
            ("b1", "share"), ("b2", "share"), ("eps", "positive"),
        ),
        _first_order("sgd", "gradient descent, with momentum if asked", ("momentum", "share")),
        _first_order(
            "rmsprop", "gradients over their recent size, Hinton 2012", ("memory", "share"), ("eps", "positive")
        ),
        _first_order(
            "lion", "the sign of the momentum, Chen et al. 2023",
            ("b1", "share"), ("b2", "share"), ("weight_decay", "nonnegative"),
        ),
        _first_order(
            "adabelief", "steps by how far gradients are as expected, Zhuang et al. 2020",
            ("b1", "share"), ("b2", "share"), ("eps", "positive"),
        ),
        MethodRow("gauss_newton", (), 0, "sums of squares by their residuals' derivatives", False, True),
        MethodRow("levenberg_marquardt", (), 0, "Gauss-Newton, damped where it would go astray", False, True),
        MethodRow("lbfgs", (), 0, "curvature from late gradients, Liu and Nocedal 1989", False),
    )
}  # fmt: skip
DECAYS = ("constant", "linear", "cosine", "exponential")
