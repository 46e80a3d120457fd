"""The only files that import a vendor's client for I/O."""
