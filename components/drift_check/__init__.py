"""The drift check as a pipeline step."""
