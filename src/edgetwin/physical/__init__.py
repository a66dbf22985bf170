"""How a network behaves: movement, channel, radio, computing and backhaul, as pure functions on arrays. One equation, one function."""
