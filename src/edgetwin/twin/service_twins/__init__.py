"""Service twins: aggregates over device twins, kept current by what changes."""
