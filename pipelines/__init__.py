"""Pipelines: one file each, written for the KFP SDK as a cluster runs them."""
