"""The first step of a retraining: what serves, and what customers said since."""
