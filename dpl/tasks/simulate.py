"""stub"""
from dataclasses import dataclass
from dpl.tasks.result import Result
@dataclass(frozen=True, eq=False, kw_only=True)
class Simulated(Result):
    measures: dict
    run: object = None
def simulate(program, task, context): ...
