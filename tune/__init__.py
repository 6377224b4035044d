"""The search for a model: Ray Tune proposes and fits, MLflow remembers."""
