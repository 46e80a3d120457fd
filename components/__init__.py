"""Pipeline components: a folder each, with a thin KFP component and plain-Python logic."""
