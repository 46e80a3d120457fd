"""The step that measures a trained adapter and lets it pass, or not."""
