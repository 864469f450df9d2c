"""Observations by hand: along a run and once for each, grouped and not, with signals, tables and rows."""

from dpl.runtime import functions as dpl
from dpl.runtime import spec

NAN = float("nan")

# ---------------------------------------------------------------- data

TIMES = (0.0, 0.1, 0.3, 0.3, 1.7, 2.0)
PLAIN = spec.Data(
    "plain",
    (
        spec.Column("t", TIMES, spec.Unit("s"), "time"),
        spec.Column("level", (3.0, 2.9, 2.5, NAN, 1.1, 0.9)),
        spec.Column("err", (0.1, 0.2, 0.1, 0.1, NAN, 0.3)),
    ),
)
OTHER = spec.Data(
    "other", (spec.Column("t", (0.2, 0.3, 1.0), spec.Unit("s"), "time"), spec.Column("rate", (1.0, 1, 1)))
)
GROUPED = spec.Data(
    "grouped",
    (
        spec.Column("subject", (0.0, 0.0, 0.0, 1.0, 1.0), role="group"),
        spec.Column("t", (0.0, 0.5, 1.5, 0.25, 2.0), spec.Unit("s"), "time"),
        spec.Column("level", (2.0, 1.5, 0.8, 4.0, 1.0)),
        spec.Column("dose", (2.0, 2.0, 2.0, 5.0, 5.0)),
        spec.Column("drive", (0.0, 1.0, 3.0, 2.0, 2.0)),
    ),
    ("ann", "bob"),
)
POINTS = spec.Data("points", (spec.Column("x", (1.0, 2.0, NAN, 4.0)), spec.Column("y", (1.1, NAN, 3.0, 4.2))))
SHOTS = spec.Data("shots", (spec.Column("x"), spec.Column("y")), record="practise")

# ---------------------------------------------------------------- x' = -k x + u


def fixed(v):
    return v["k"], v.get("dose", v.get("level")), v.get("grouped.drive")


def start(c):
    return (c[1],), (), ()


def rhs(t, x, z, held, c):
    return (-c[0] * x[0],), ()


def sensors(t, x, z, held, c, row):
    return (x[0], row[0]), (c[0] * x[0] + t,)


DECAY = spec.Scenario(
    name="Decay",
    doc="",
    params=(spec.Param("k", 0.7, spec.Unit("1/s"), 0.0),),
    givens=(),
    starts=(spec.Start("level", 3.0),),
    networks=(),
    observed=(),
    measures=(),
    fixed=fixed,
    results=lambda reduced, c: {"end": reduced[0]},
    observe=lambda t, x, z, held, c: {"level": x[0]},
    run=spec.Run(0.0, 2.0, spec.Method("tsit5")),
    states=(spec.Observed("level"),),
    start=start,
    rhs=rhs,
    sensors=sensors,
    row=("plain.err",),
    observations=(
        spec.Observation("plain.level", "normal", "plain", "level", timed=True),
        spec.Observation("other.rate", "poisson", "other", "rate", timed=True),
    ),
)


def driven_rhs(t, x, z, held, c):
    return (-c[0] * x[0] + dpl.lookup(c[2], t, "linear"),), ()


DRIVEN = spec.Scenario(
    name="Driven",
    doc="",
    params=(spec.Param("k", 0.7, spec.Unit("1/s"), 0.0),),
    givens=(spec.Given("dose", None, data="grouped", column="dose"),),
    starts=(),
    networks=(),
    observed=(),
    measures=(spec.Measure("end", "metric"),),
    fixed=fixed,
    results=lambda reduced, c: {"end": reduced[0]},
    observe=lambda t, x, z, held, c: {"level": x[0]},
    run=spec.Run(0.0, 2.0, spec.Method("tsit5")),
    states=(spec.Observed("level"),),
    start=start,
    rhs=driven_rhs,
    timed=True,
    reductions=(spec.Reduction("final", 0),),
    instants=lambda t, x, z, held, c: x,
    sensors=lambda t, x, z, held, c, row: ((x[0],),),
    signals=("grouped.drive",),
    knots=lambda c: (c[2][0],),
    observations=(spec.Observation("grouped.level", "lognormal", "grouped", "level", timed=True, estimated=True),),
)

# ---------------------------------------------------------------- y = a f(x)

LINE = spec.Scenario(
    name="Line",
    doc="",
    params=(spec.Param("a", 2.0),),
    givens=(spec.Given("row.x", None, data="points", column="x"),),
    starts=(),
    networks=(),
    observed=(),
    measures=(),
    fixed=lambda v: (v["a"] * dpl.lookup(v["bent"], v["row.x"], "linear"),),
    results=lambda reduced, c: {"mean": c[0], "sd": 0.1},
    observe=lambda t, x, z, held, c: {},
    tables=(spec.Table("bent", (0.0, 2.0, 4.0), (0.0, 2.0, 8.0)),),
    observations=(spec.Observation("points.y", "normal", "points", "y", keys=("mean", "sd")),),
)

AIMED = spec.Scenario(
    name="Aimed",
    doc="",
    params=(),
    givens=(spec.Given("shot.x", None, data="shots", column="x"),),
    starts=(),
    networks=(),
    observed=(),
    measures=(),
    fixed=lambda v: (v["shot.x"],),
    results=lambda reduced, c: {"mean": c[0]},
    observe=lambda t, x, z, held, c: {},
    observations=(spec.Observation("shots.y", "normal", "shots", "y", estimated=True, keys=("mean",)),),
)

MODULE = spec.Module(
    "decay", __doc__, (DECAY, DRIVEN, LINE, AIMED), (), "0", data=(PLAIN, OTHER, GROUPED, POINTS, SHOTS)
)
