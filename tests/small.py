"""One small two-timescale network for all tests of what is done with comparisons, so that its programs are compiled once."""

SETTINGS = {
    "users.count": 4,
    "users.mean_speed_mps": [10, 30],
    "area.width_m": 300,
    "two_timescale.frames": 4,
    "two_timescale.frame_slots": 20,
    "two_timescale.migration_slots": 3,
}
POLICIES = ["full-power+nearest", "full-power+genie"]
EPISODES, SLOTS, SEED = 3, 80, 0
