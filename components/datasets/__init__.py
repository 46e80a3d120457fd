"""Data sets: the seeded generator of a bank's customer messages, readers of files, held-out traffic."""
