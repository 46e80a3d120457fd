"""Sequential tests of a rollout: pure functions of evidence, each valid at any stopping time."""
