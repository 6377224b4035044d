"""What a model card tells of: a version's artefacts, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from heart.assessment import Assessment, Group
from heart.bundle import EVALUATION_FILE, Bundle
from heart.errors import BundleError
from heart.gates import Evaluation, Gate
from heart.metadata import Metadata
from heart.promotions import Promotion

TEST: Final = "test"
"""The rows set aside, among the groups whose coverage is told; the others are hospitals."""
DIRTY: Final = "-dirty"


@dataclass(frozen=True)
class Card:
    """A version by its artefacts: nothing else is known of it, and no data are read."""

    version: str
    metadata: Metadata
    evaluation: Evaluation
    promotions: tuple[Promotion, ...]

    @classmethod
    def of(cls, bundle: Bundle, log: Sequence[Promotion]) -> Card:
        """A bundle and its lines of the log; raises `BundleError` for an unreadable evaluation."""
        try:
            evaluation = Evaluation.model_validate_json(bundle.evaluation)
        except ValidationError as error:
            raise BundleError(
                f"{EVALUATION_FILE} of version {bundle.version} is no evaluation: "
                f"{error.error_count()} fields are wrong",
                field=EVALUATION_FILE,
            ) from error
        own = tuple(promotion for promotion in log if promotion.version == bundle.version)
        return cls(bundle.version, bundle.metadata, evaluation, own)

    @property
    def assessment(self) -> Assessment:
        """Everything measured."""
        return self.evaluation.assessment

    @property
    def family(self) -> str:
        """The kind of model, in words."""
        return self.metadata.recipe.family.replace("_", " ")

    @property
    def train(self) -> int:
        """How many rows were trained on, each of them also predicted out of fold."""
        return sum(group.n for group in self.assessment.bins)

    @property
    def with_disease(self) -> int:
        """How many of the training rows have the disease."""
        return round(sum(group.n * group.observed for group in self.assessment.bins))

    @property
    def prevalence(self) -> float:
        """The share of the training rows with disease."""
        return self.with_disease / self.train

    @property
    def test(self) -> int:
        """How many rows were set aside."""
        return self.assessment.coverage[TEST].n

    @property
    def sites(self) -> dict[str, int]:
        """The training rows of each hospital."""
        return {name: c.n for name, c in self.assessment.coverage.items() if name != TEST}

    @property
    def failed(self) -> tuple[Gate, ...]:
        """The gates that were not passed."""
        return tuple(gate for gate in self.evaluation.gates if not gate.passed)

    @property
    def forced(self) -> tuple[Promotion, ...]:
        """The promotions that a gate had stopped and a person forced."""
        return tuple(promotion for promotion in self.promotions if promotion.forced)

    @property
    def withheld(self) -> tuple[Group, ...]:
        """The groups that are too small to be scored."""
        return tuple(group for group in self.assessment.groups if group.scores is None)

    @property
    def not_covered(self) -> tuple[str, ...]:
        """Where the bounds of a decision do not hold: hospitals, or the test rows."""
        return tuple(name for name, found in self.assessment.coverage.items() if not found.holds)

    @property
    def dirty(self) -> bool:
        """Whether the code had changes that its commit does not hold."""
        return self.metadata.lineage.code_version.endswith(DIRTY)


def headline(card: Card) -> str:
    """One sentence: what is served, and its ROC-AUC on the test rows with its interval and n."""
    area = card.assessment.test["roc_auc"]
    return (
        f"Version {card.version} ({card.family}) has a ROC-AUC of {area} (95% interval) on "
        f"{card.test} test rows that had no part in its training or choice."
    )
