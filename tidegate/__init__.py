"""tidegate: the life of a large language model, from a data set into production and back."""

__version__ = "0.1.0"
