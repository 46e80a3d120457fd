"""prepare: from raw rows to redacted, deduplicated, split Parquet with a manifest whose sums close."""
