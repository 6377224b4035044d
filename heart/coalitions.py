"""Which coalitions of attributes are judged, and how their values become Shapley values.

A coalition is the set of attributes that have the patient's value; the others have the
reference's. Of d attributes there are 2^d, and a Shapley value is a fixed weighted sum over
them (Shapley, 1953), or the mean over random orders of what an attribute adds when its turn
comes (Castro, Gómez and Tejada, 2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Method = Literal["exact", "sampled"]

SEED: Final = 20
"""Of the random orders: one for all patients, so that the same patient gets the same answer
from every replica."""


@dataclass(frozen=True, eq=False)
class Exact:
    """All coalitions of d attributes, the empty one first and the full one last.

    ``members`` is (2^d, d), ``weights`` (d, 2^d).
    """

    members: Bools
    weights: Floats
    method: Method = "exact"

    def shares(self, values: Floats) -> tuple[Floats, Floats]:
        """Shapley values and their standard errors, shape (d,), of the coalitions' values (2^d,).

        They add up to the last value minus the first.
        """
        return self.weights @ values, np.zeros(len(self.weights))


@dataclass(frozen=True, eq=False)
class Sampled:
    """The coalitions on the way of pairs of orders, the second of a pair the first reversed.

    ``members`` is (m, d), the empty coalition first and the full one last. ``orders`` is
    (pairs, 2, d): which attribute joins at each step. ``walks`` is (pairs, 2, d + 1): which of
    ``members`` has formed. What a pair misses on one way it mostly finds on the way back
    (Mitchell and others, 2022).
    """

    members: Bools
    orders: Integers
    walks: Integers
    method: Method = "sampled"

    def shares(self, values: Floats) -> tuple[Floats, Floats]:
        """The mean over the pairs and its standard error, (d,), of the coalitions' values (m,).

        What is added on each way adds up to the last value minus the first, so the means do.
        """
        steps = np.diff(values[self.walks], axis=2)
        added = np.empty_like(steps)
        np.put_along_axis(added, self.orders, steps, axis=2)
        pairs = added.mean(axis=1)
        return pairs.mean(axis=0), pairs.std(axis=0, ddof=1) / math.sqrt(len(pairs))


Design = Exact | Sampled


def design(d: int, *, rows: int) -> Design:
    """All coalitions of d attributes where ``rows`` allows for them, else a sample of them."""
    return exact(d) if 2**d <= rows else sampled(d, rows)


@lru_cache
def exact(d: int) -> Exact:
    """All 2^d coalitions; the bits of a coalition's position are its members."""
    positions = np.arange(2**d)
    members = (positions[:, None] >> np.arange(d)) & 1 == 1
    sizes = members.sum(axis=1)
    # (s - 1)! (d - s)! / d! = 1 / (s C(d, s)), and its like for those who have yet to join.
    joined = [0.0, *(1 / (s * math.comb(d, s)) for s in range(1, d + 1))]
    absent = [*(-1 / ((d - s) * math.comb(d, s)) for s in range(d)), 0.0]
    weights = np.where(members.T, np.array(joined)[sizes], np.array(absent)[sizes])
    return Exact(members=members, weights=weights)


@lru_cache
def sampled(d: int, rows: int) -> Sampled:
    """As many pairs of orders as visit at most ``rows`` coalitions, which must be some times d."""
    rng = np.random.default_rng([SEED, d])
    there = rng.permuted(np.tile(np.arange(d), (rows, 1)), axis=1)
    orders = np.stack([there, there[:, ::-1]], axis=1)
    joined = np.cumsum(1 << orders, axis=2)
    visited = np.concatenate([np.zeros_like(joined[:, :, :1]), joined], axis=2)
    pairs = _affordable(visited, rows)
    found, walks = np.unique(visited[:pairs], return_inverse=True)
    return Sampled(
        members=(found[:, None] >> np.arange(d)) & 1 == 1,
        orders=orders[:pairs],
        walks=walks.reshape(pairs, 2, d + 1),
    )


def _affordable(visited: Integers, rows: int) -> int:
    """How many of the pairs visit at most ``rows`` different coalitions between them."""
    _, first = np.unique(visited, return_index=True)
    new = np.bincount(first // visited[0].size, minlength=len(visited))
    return int((np.cumsum(new) <= rows).sum())
