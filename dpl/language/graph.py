"""Matching and strongly connected components, on any hashable nodes, in the order given.

Both are iterative: the depth of a model never meets the depth of Python's stack.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

N = TypeVar("N", bound=Hashable)
E = TypeVar("E", bound=Hashable)


def match(equations: Sequence[E], candidates: Callable[[E], Sequence[N]]) -> dict[N, E]:
    """A maximum matching of unknowns to equations, found by augmenting paths.

    An equation takes its first free candidate; earlier equations keep theirs where possible.
    """
    owner: dict[N, E] = {}
    for equation in equations:
        _augment(equation, candidates, owner)
    return owner


def _augment(start: E, candidates: Callable[[E], Sequence[N]], owner: dict[N, E]) -> bool:
    reached: dict[N, tuple[E, N | None]] = {}
    waiting: deque[tuple[E, N | None]] = deque([(start, None)])
    while waiting:
        equation, own = waiting.popleft()
        for unknown in candidates(equation):
            if unknown in reached:
                continue
            reached[unknown] = equation, own
            if unknown not in owner:
                _shift(unknown, reached, owner)
                return True
            waiting.append((owner[unknown], unknown))
    return False


def _shift(free: N, reached: dict[N, tuple[E, N | None]], owner: dict[N, E]) -> None:
    """Hand the free unknown to the equation that reached it, what that owned to the one before, back to the start."""
    unknown: N | None = free
    while unknown is not None:
        owner[unknown], unknown = reached[unknown]


def components(nodes: Iterable[N], successors: Callable[[N], Iterable[N]]) -> list[list[N]]:
    """Strongly connected components, each after all those it leads to: Tarjan (1972), SIAM J. Comput. 1(2), 146."""
    index: dict[N, int] = {}
    low: dict[N, int] = {}
    on_stack: set[N] = set()
    stack: list[N] = []
    result: list[list[N]] = []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(tuple(successors(root))))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            for child in rest:
                if child not in index:
                    index[child] = low[child] = len(index)
                    stack.append(child)
                    on_stack.add(child)
                    work.append((child, iter(tuple(successors(child)))))
                    break
                if child in on_stack:
                    low[node] = min(low[node], index[child])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    component: list[N] = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    result.append(component[::-1])
    return result


def cycle(component: Sequence[N], successors: Callable[[N], Iterable[N]]) -> list[N]:
    """One shortest cycle through the first node of a component, its first node repeated at the end."""
    members = set(component)
    start = component[0]
    came: dict[N, N] = {}
    waiting = deque([start])
    while waiting:
        node = waiting.popleft()
        for child in successors(node):
            if child == start:
                path = [start]
                while node != start:
                    path.append(node)
                    node = came[node]
                return [start, *reversed(path[1:]), start]
            if child in members and child not in came:
                came[child] = node
                waiting.append(child)
    return [start]
