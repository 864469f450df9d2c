"""Many runs, many steps, several devices, fewer bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dpl
from dpl.runtime import memory, solve
from dpl.tasks import sampling

TEXT = """
network f(x in -1..1) -> y in -2..2 { hidden 3 }
scenario S {
  param k: 1/s = 1 in 0..3
  given x0 = 1 in 0.5..2 ~ uniform(0.5, 2)
  state x = x0
  x' = -k*x + f(x)*1 [1/s]
  run for 1 [s] using rk4(0.1 [s])
  loss a = average(x)
  metric b = final(x)
}
train wide { on S; vary f, k; minimize a²; batch 8; steps 3 }
train narrow { on S; vary k; minimize a²; batch 8; steps 3 }
evaluate spread { on S; samples 20 }
verify fine { on S; samples 16; expect mean(a) > -100 }
"""

DEVICES = """
import json, sys
import dpl, jax
results = dpl.compile(sys.stdin.read()).run()
spread, fine = results["spread"].spreads[0], results["fine"].checked[0]
losses = [results[name].losses.tolist() for name in ("wide", "narrow")]
print(json.dumps([jax.device_count(), results["wide"].defaults, [*losses, spread.mean, spread.sd, fine.operands]]))
"""


def on_devices(count: int) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, [str(Path(dpl.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    more = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}", "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-c", DEVICES], env=os.environ | more, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(TEXT)
    process.stdin.close()
    process.stdin = None
    return process


def test_devices_share_the_runs_and_come_to_the_same_numbers():
    found = [json.loads(process.communicate(timeout=600)[0]) for process in map(on_devices, (1, 4))]
    assert [count for count, _, _ in found] == [1, 4]
    assert "4 devices" in found[1][1] and "4 devices" not in found[0][1]
    flat = [np.concatenate([np.ravel(x) for x in numbers]) for _, _, numbers in found]
    np.testing.assert_allclose(flat[1], flat[0], rtol=1e-12)


# ---------------------------------------------------------------- long runs


def slope_of(count: int, long: int, monkeypatch: pytest.MonkeyPatch, more: str = ""):
    monkeypatch.setattr(solve, "LONG", long)
    text = f"""
    scenario S {{
      param k: 1/s = 1 in 0..3
      state x = 1
      x' = -k*x
      run for 1 [s] using rk4({1 / count!r} [s])
      loss a = average(x²)
      {more}
    }}
    """
    scenario = dpl.compile(text).scenarios["S"]
    compiled = jax.jit(jax.grad(lambda k: scenario.evaluate({"k": k})["a"])).lower(1.0).compile()
    return scenario, compiled


@pytest.mark.parametrize("count", [1000, 997])
def test_a_long_run_is_cut_and_its_gradient_is_the_same(count: int, monkeypatch: pytest.MonkeyPatch):
    peak = "loss p = peak(x, from 0.3 [s])"
    (short, plain), (long, cut) = (slope_of(count, limit, monkeypatch, peak) for limit in (10**9, 100))
    np.testing.assert_allclose(cut(1.3), plain(1.3), rtol=1e-13)
    np.testing.assert_allclose(long.evaluate()["p"], short.evaluate()["p"], rtol=1e-13)


def test_the_gradient_of_a_million_steps_stores_few_states(monkeypatch: pytest.MonkeyPatch):
    scenario, compiled = slope_of(10**6, solve.LONG, monkeypatch)
    assert compiled.memory_analysis().temp_size_in_bytes < 1e6
    assert "stores 1_000" in scenario.passes
    k = 1.0
    exact = np.exp(-2 * k) * (1 / k + 1 / (2 * k**2)) - 1 / (2 * k**2)
    np.testing.assert_allclose(compiled(k), exact, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 100, 4096, 5000, 999_983, 10**6])
def test_parts_hold_all_steps_but_a_rest_that_is_shorter_than_one(count: int):
    parts, length = solve.cut(count)
    assert 0 <= count - parts * length < length and parts + length <= 4 * count**0.5 + 2


# ---------------------------------------------------------------- memory


def test_what_does_not_fit_is_said_before_it_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "available", lambda: 1_000)
    with pytest.raises(memory.MemoryNeeded, match=r"run needs .* kB at once, and 1 kB are free: a smaller `batch`"):
        dpl.compile(TEXT).run("narrow")


def test_an_evaluation_takes_as_many_runs_at_once_as_fit(monkeypatch: pytest.MonkeyPatch):
    scenario = dpl.compile(TEXT).scenarios["S"]
    base = scenario.values_si()
    whole = sampling.evaluate(scenario, base, frozenset(), 0, 24)
    asked: list[int] = []

    def room(name, compiled):
        asked.append(1)
        if len(asked) < 3:
            raise memory.MemoryNeeded(name, 2, 1)
        return 1

    monkeypatch.setattr(memory, "check", room)
    again = dpl.compile(TEXT).scenarios["S"]
    parted = sampling.evaluate(again, base, frozenset(), 0, 24)
    assert len(asked) == 3
    np.testing.assert_allclose(parted.results["a"], whole.results["a"], rtol=1e-13)


# ---------------------------------------------------------------- modes of derivatives, and fewer bits


def test_few_numbers_are_differentiated_forward_and_many_in_reverse():
    results = dpl.compile(TEXT).run("wide", "narrow")
    assert "derivatives reverse, of 11 numbers" in results["wide"].defaults
    assert "derivatives forward, of 1 number" in results["narrow"].defaults


def test_runs_in_32_bits_are_near_and_it_is_said_how_near(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from dpl.cli.main import main

    double, single = (dpl.compile(TEXT, dtype=dtype) for dtype in ("float64", "float32"))
    of = [program.scenarios["S"].evaluate()["a"] for program in (double, single)]
    off = abs(float(of[1]) / float(of[0]) - 1)
    assert 1e-12 < off < 1e-5 and of[1].dtype == jnp.float64
    told = single.precision()["S"]
    assert told.unended == 0 and 1e-9 < told.measures["a"] < 1e-5 and 1e-9 < told.gradient < 1e-4
    file = tmp_path / "a.dpl"
    file.write_text(TEXT.split("train wide")[0] + "simulate one { on S }\n")
    assert main(["run", str(file), "--no-save", "--float32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["float32"]["S"]["measures"]["a"] < 1e-5
    with pytest.raises(ValueError, match="float64 or float32"):
        dpl.compile(TEXT, dtype="float16")
