"""Hyperparameter search: a sweep whose jobs Optuna chooses by the scores of those before."""
