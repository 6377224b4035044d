"""What the model is for and what it is not for, in the words of its card and of the page."""

from __future__ import annotations

from typing import Final

OUTCOME: Final = "a coronary narrowing of 50% or more"
NO_DEVICE: Final = (
    "No medical device: a study of method on public data; no answer is for the care of a patient."
)
NOT_SCREENING: Final = "Not for screening: the patients had been referred for angiography"
NOT_FUTURE: Final = "Not for a future event: nobody was followed up."
NOT_TODAY: Final = (
    "Not for the patients of today without an evaluation on them: the data are of 1988 and before."
)
