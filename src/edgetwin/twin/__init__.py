"""The live twin layer: device and service twins that are stored before they are acknowledged, kept fresh, and never lost.

A message's way: `http`, `websocket` or `nats` → `ingest` (lines) → `messages` (parsed) → `kinds` (checked) → `host` (queued, in order) →
`record` (what it changes) → a store (durable) → its acknowledgement, and `services` (aggregates) by the bus.
"""
