"""The step that makes one MLflow model version of an evaluated adapter."""
