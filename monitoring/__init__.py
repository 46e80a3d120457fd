"""The monitoring plane: pair scoring, drift, alerts and retraining."""
