"""What twins are kept in: a SQLite file for each host, or a PostgreSQL server for all."""
