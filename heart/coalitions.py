"""Which coalitions of attributes are judged, and how their values become Shapley values.

A coalition is the set of attributes that have the patient's value; the others have the
reference's. Of d attributes there are 2^d, and a Shapley value is a fixed weighted sum over
them (Shapley, 1953), or the mean over random orders of what an attribute adds when its turn
comes (Castro, Gómez and Tejada, 2009). Where orders are sampled, a polynomial is fitted to the
values and shared exactly, and only what it leaves over is left to chance (Witter, Liu and
Musco, 2025).
"""

from __future__ import annotations

import itertools
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
DEGREE: Final = 3
"""Of the polynomial: both orders of a pair together share one of degree 2 exactly without it."""
VALUES_A_TERM: Final = 2.5
"""Coalitions for each term of the polynomial; of fewer, the error that is told is too small."""
LARGEST_SAMPLE: Final = 2048
"""Coalitions beyond which the fit would take longer than what they add is worth."""


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
    (Mitchell and others, 2022). ``basis`` is (m, k), orthonormal, of the polynomials that are
    fitted, and ``credit`` (d, k) their Shapley values; k is 0 where the coalitions are too few.
    """

    members: Bools
    orders: Integers
    walks: Integers
    basis: Floats
    credit: Floats
    method: Method = "sampled"

    def shares(self, values: Floats) -> tuple[Floats, Floats]:
        """The mean over the pairs and its standard error, (d,), of the coalitions' values (m,).

        What is added on each way adds up to the last value minus the first, so the means do.
        """
        fitted = self.basis.T @ values
        steps = np.diff((values - self.basis @ fitted)[self.walks], axis=2)
        added = np.empty_like(steps)
        np.put_along_axis(added, self.orders, steps, axis=2)
        pairs = added.mean(axis=1)
        # What is left over of values that were fitted is less than of others, on average by this.
        m, k = self.basis.shape
        spread = pairs.std(axis=0, ddof=1) * m / (m - k)
        return self.credit @ fitted + pairs.mean(axis=0), spread / math.sqrt(len(pairs))


Design = Exact | Sampled


def design(d: int, *, rows: int) -> Design:
    """All coalitions of d attributes where ``rows`` allows for them, else a sample of them."""
    return exact(d) if 2**d <= rows else sampled(d, min(rows, LARGEST_SAMPLE))


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
    members = (found[:, None] >> np.arange(d)) & 1 == 1
    basis, credit = _polynomials(members)
    return Sampled(
        members=members,
        orders=orders[:pairs],
        walks=walks.reshape(pairs, 2, d + 1),
        basis=basis,
        credit=credit,
    )


def _affordable(visited: Integers, rows: int) -> int:
    """How many of the pairs visit at most ``rows`` different coalitions between them."""
    _, first = np.unique(visited, return_index=True)
    new = np.bincount(first // visited[0].size, minlength=len(visited))
    return int((np.cumsum(new) <= rows).sum())


def _polynomials(members: Bools) -> tuple[Floats, Floats]:
    """Basis and credit of the polynomials of up to `DEGREE`, none for too few coalitions."""
    m, d = members.shape
    groups = [g for size in range(DEGREE + 1) for g in itertools.combinations(range(d), size)]
    if m < VALUES_A_TERM * len(groups):
        return np.zeros((m, 0)), np.zeros((d, 0))
    products = np.array([members[:, group].all(axis=1) for group in groups], dtype=np.float64).T
    # A group that is worth something once it is whole shares that alike.
    credit = np.zeros((d, len(groups)))
    for column, group in enumerate(groups):
        credit[list(group), column] = 1 / max(len(group), 1)
    basis, triangle = np.linalg.qr(products)
    return basis, np.linalg.solve(triangle.T, credit.T).T
