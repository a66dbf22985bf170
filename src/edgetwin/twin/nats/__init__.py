"""NATS: news between processes, and devices that speak MQTT to its listener."""
