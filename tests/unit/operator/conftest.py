from tests.unit.store.databases import clock, database_url, db, postgres_url

__all__ = ["clock", "database_url", "db", "postgres_url"]
