"""Coronary disease from the thirteen attributes of the UCI Heart Disease data."""

__version__ = "0.1.0"
