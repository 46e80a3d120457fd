"""The controller on a cluster: its ports over the Kubernetes API, what it renders, and the kopf process around it."""
