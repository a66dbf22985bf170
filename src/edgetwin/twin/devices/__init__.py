"""The device's side: a client for programs, and a fleet of devices to order."""
