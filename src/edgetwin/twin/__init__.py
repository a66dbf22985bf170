"""The live twin layer: device and service twins that are stored before they are acknowledged, kept fresh, and never lost.

A message's way: `http`, `stream` or `nats` (lines) → `centre` (parsed, routed) → `host` (checked by `kinds`, queued, in order) → `record` (what it
changes) → `stores` (durable) → its acknowledgement, and `service_twins` (aggregates). `moves` takes twins from host to host; `devices` is the
other side: a client, and a fleet to order.
"""
