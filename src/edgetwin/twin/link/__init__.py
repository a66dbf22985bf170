"""Hosts as processes of their own: the link between the centre and a host, and what stands at either end of it."""
