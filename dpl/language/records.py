"""The clauses of `record`: which sensors it reads, and how often in a run."""

from __future__ import annotations

from dpl.language import syntax
from dpl.language.clauses import Reading
from dpl.language.diagnostics import Label
from dpl.language.model import Observation, System
from dpl.language.settings import shown


def read_every(clause: syntax.Sampled, reading: Reading) -> None:
    """`every 0.1 [s]`: the time between two rows of a run."""
    period, report = clause.period, reading.inference.report
    found = reading.span_of_time(period, "the time between two rows", "the time between two rows is above 0")
    if found is None:
        return
    reading.every = float(found)
    run = reading.system.run
    if run is not None and found > run.duration:
        related = (Label(run.span, f"lasts {shown(run.duration, run.unit)}"),)
        message = "the run is over before a second row"
        report("outside-the-run", message, period.span, f"is {shown(found, run.unit)}", related=related)


def check_record(reading: Reading) -> None:
    """Whether there is a sensor, and one that is read along the run where the task says how often."""
    system, report = reading.system, reading.inference.report
    sensors = sensors_of(system)
    if not sensors and (not reading.sound or any(data.broken for data in system.data)):
        return  # an `observe` may be what is wrong
    if not sensors:
        message = f"scenario `{system.name}` has no sensor, so that there is nothing to record"
        report("no-sensor", message, reading.place("on"), "named here", help=_way_to_a_sensor(system))
        return
    often = [word for word in ("every", "points") if word in reading.clauses]
    if len(often) == 2:
        reading.refuse("say either how often, `every`, or how many `points`", "says both", None, "points")
    elif often and not any(sensor.timed for sensor in sensors):
        names = ", ".join(f"`{sensor.name}`" for sensor in sensors[:3])
        report(
            "misplaced-clause",
            f"every sensor is read once in a run: {names}",
            reading.place(often[0]),
            "says how often",
            related=(Label(sensors[0].span, "is one number per run"),),
            help=f"leave `{often[0]}` out, or observe what changes with time",
        )


def sensors_of(system: System) -> list[Observation]:
    return [observation for observation in system.observations if observation.data is None]


def _way_to_a_sensor(system: System) -> str:
    """An example with what the scenario has."""
    state = next((v for v in system.variables if v.kind in ("state", "output") and not v.shape), None)
    if state is None:
        return "write in the scenario `observe seen ~ normal(…, 0.1)`: a name of its own, and how it scatters"
    unit = state.display.text
    typed, spread = (f": {unit}", f"0.1 [{unit}]") if unit else ("", "0.1")
    value = f"final({state.path})" if system.runs else state.path
    sensor = f"observe seen{typed} ~ normal({value}, {spread})"
    return f"write in the scenario `{sensor}`: a name of its own, and how it scatters"
