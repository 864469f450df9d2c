"""Failing runs as files, each enough to repeat that one run: what differed in it, and the params that it met."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from dpl.results import params
from dpl.results.folder import Folder
from dpl.runtime import noise, solve
from dpl.runtime.program import Program
from dpl.tasks.context import Context, setup
from dpl.tasks.result import Quantity, Seconds
from dpl.tasks.sampling import stream
from dpl.tasks.simulate import Simulated
from dpl.tasks.verify import Failing, Verified


def write(folder: Folder, program: Program, result: Verified, file: str, settings: Mapping[str, Any]) -> list[Path]:
    """A file for each failing run that the result shows, and the params once; returns the paths, worst first."""
    failing: dict[int, tuple[Failing, list[str]]] = {}
    for one, why in _failing(result):
        failing.setdefault(one.sample.index, (one, []))[1].append(why)
    if failing:
        folder.write(f"cases/{result.name}.safetensors", params.encoded(program))
    paths: list[Path] = []
    for index, (one, why) in failing.items():
        name = f"cases/{result.name}-run{index}.json"
        document = {
            "file": file,
            "scenario": result.scenario,
            "task": result.name,
            "index": index,
            "seed": result.seed,
            "fails": why,
            "givens": {k: {"value": q.value, "unit": q.unit} for k, q in one.sample.givens.items()},
            "settings": settings,
            "run": str(folder.path.resolve()),
            "params": f"{result.name}.safetensors",
        }
        folder.write_json(name, document)
        paths.append(folder.path / name)
    return paths


def _failing(result: Verified) -> Iterator[tuple[Failing, str]]:
    for checked in result.checked:
        for one in checked.failing:
            values = " against ".join(map(str, one.values))
            yield one, f"{checked.text}: {values}" if values else checked.text
    for one in result.unended:
        yield one, one.why


def repeat(program: Program, path: Path) -> Simulated:
    """The run that a case file tells of, with its trajectories.

    Raises:
        ValueError: this is no case of this program.
    """
    case = _read(path)
    task = program.tasks.get(case["task"])
    if task is None or task.scenario != case["scenario"]:
        raise ValueError(f"{path} is of the task {case['task']} on {case['scenario']}, which this file does not have")
    met = path.parent / case["params"]
    if not met.is_file():
        origin = f": copy it from {Path(str(case['run'])) / 'cases'}" if case["run"] else ""
        raise ValueError(f"{path} needs the params that its run met, and {met.name} is not beside it{origin}")
    notes = params.start_from(program, met, str(path))
    ready = setup(program, task, Context(seed=case["seed"], settings=case["settings"]))
    units = {given.name: given.unit for given in ready.scenario.spec.givens}
    if unknown := case["givens"].keys() - units.keys():
        raise ValueError(f"{path} gives {', '.join(sorted(unknown))}, which {task.scenario} does not have")
    given = {name: np.asarray(said["value"], float) * units[name].scale for name, said in case["givens"].items()}
    if ready.scenario.spec.noises:
        met_noise = ready.scenario.draw(stream(case["seed"], "verify"), np.array([case["index"]]))[noise.NAME]
        given[noise.NAME] = np.asarray(met_noise[0])
    began = perf_counter()
    run = ready.scenario.simulate_si({**ready.base, **given}, task.counts.get("points"))
    return Simulated(
        kind="case",
        name=f"{task.name}-run{case['index']}",
        scenario=task.scenario,
        seed=case["seed"],
        seconds=Seconds(None, perf_counter() - began),
        status="done" if run.code == solve.OK else "unended",
        notes=(*notes, *(f"failed `{why}`" for why in case["fails"]), *run.notes),
        plot=task.plot,
        runs={task.name: run} if task.plot else {},
        run=run,
        measures={name: Quantity(value, run.units[name]) for name, value in {**run.losses, **run.metrics}.items()},
    )


KEYS = {"task": str, "scenario": str, "index": int, "seed": int, "params": str}


def _read(path: Path) -> dict[str, Any]:
    try:
        case = json.loads(path.read_text(encoding="utf-8"))
        assert all(isinstance(case[key], kind) for key, kind in KEYS.items())
        assert all(isinstance(said["value"], float | int) for said in case["givens"].values())
        return {"settings": {}, "fails": [], "run": "", **case}
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        raise ValueError(f"{path} is not a case that `dpl run` wrote") from None
