"""What a network is, as data: the sections of a scenario, their units and their limits.

A scenario is loaded from TOML and never changes afterwards. Names carry units; every value has a line in `sources` that
says where it comes from. A section per decision problem says what that problem adds to the shared network.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _a_number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


Number = Annotated[float, BeforeValidator(_a_number)]
Whole = Annotated[int, BeforeValidator(_a_number)]
Positive = Annotated[Number, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[Number, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[Number, Field(ge=0, le=1)]
Memory = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[Whole, Field(ge=1)]


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"the first number ({limits[0]:g}) must not be above the second ({limits[1]:g})")
    return limits


def _check_file(kind_key: str, kind: str, file_key: str, file: str | None) -> None:
    if kind == "file" and file is None:
        raise ValueError(f'{kind_key} = "file": needs {file_key}, the path of a CSV file')
    if kind != "file" and file is not None:
        raise ValueError(f'{file_key} = "{file}": goes only with {kind_key} = "file", but that is "{kind}"')


PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
NonNegativeRange = Annotated[tuple[NonNegative, NonNegative], AfterValidator(_ordered)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=True)


class Area(Section):
    """The square served, from (0, 0) to (width, width); `centre` ties it to the ground where positions are lat,lon."""

    width_m: Positive
    centre_lat_deg: Annotated[Number, Field(ge=-90, le=90)] | None = None
    centre_lon_deg: Annotated[Number, Field(ge=-180, le=180)] | None = None


class Sites(Section):
    """Base-station sites: a layout of the problem, or the best-spread `count` of those in a file or data set.

    "uniform" sites are drawn anew in each episode, by problems that can (association).
    """

    count: Count
    layout: Literal["lloyd", "uniform", "optus-melbourne-cbd", "sf-taxi-towers", "file"]
    file: str | None = None

    @model_validator(mode="after")
    def _file_goes_with_layout(self):
        _check_file("sites.layout", self.layout, "sites.file", self.file)
        return self


Mobility = Literal["gauss-markov", "random-waypoint", "random-walk", "persistent-walk", "goal-tracks", "sf-taxis", "file"]
Moves = tuple[Probability, Probability, Probability, Probability, Probability]


def _sums_to_one(rows: tuple[Moves, ...]) -> tuple[Moves, ...]:
    for user, row in enumerate(rows):
        if abs(sum(row) - 1) > 1e-6:
            raise ValueError(f"user {user}: the five probabilities sum to {sum(row):.6g}: must sum to 1")
    return rows


class Users(Section):
    """Mobile users and how they move: Gauss-Markov (two-timescale (1)-(4)), walks by steps (network-sync (1)), random waypoints, or real tracks.

    Random-waypoint users start in the area, the share `hotspot_share` of them around one of `hotspots` places (normal, `hotspot_std_m`).
    A walk's moves are stay, forward, backward, left, right: by `move_probability`, a row for every user, or where that is missing by a
    ladder: the first user's dominant move has the first `dominant_probability`, the last user's the second, and the rest is shared
    evenly. A persistent walk repeats its last move with probability `persistence`. `track_part` holds out every fourth track.
    """

    count: Count
    mobility: Mobility
    file: str | None = None
    step_m: Positive = 1.0
    dominant_probability: tuple[Probability, Probability] = (0.99, 0.5)
    move_probability: Annotated[tuple[Moves, ...], AfterValidator(_sums_to_one)] | None = None
    persistence: Probability = 0.8
    boundary: Literal["none", "reflect", "clip"] = "none"
    hotspots: Annotated[Whole, Field(ge=0)] = 0
    hotspot_share: Probability = 0.8
    hotspot_std_m: Positive = 120.0
    waypoint_speed_mps: PositiveRange = (1.0, 20.0)
    mean_speed_mps: NonNegativeRange = (2.0, 10.0)
    speed_memory: Memory = 0.9
    direction_memory: Memory = 0.9
    speed_noise_mps: NonNegative = 1.0
    direction_noise_rad: NonNegative = 0.3
    track_gap_max_s: Positive = 30.0
    track_span_max_m: Positive = 1000.0
    track_duration_min_s: Positive = 60.0
    track_part: Literal["all", "train", "test"] = "all"

    @model_validator(mode="after")
    def _fits(self):
        _check_file("users.mobility", self.mobility, "users.file", self.file)
        if self.move_probability is not None and len(self.move_probability) != self.count:
            raise ValueError(
                f"users.move_probability = {len(self.move_probability)} rows: must have one for each of users.count = {self.count}"
            )
        return self


class Servers(Section):
    """Edge servers with the CPU `cpu_hz`: at every site, or at the best-spread `count` of them, unless a site file decides."""

    count: Count | Literal["all"]
    cpu_hz: Positive


class Backhaul(Section):
    """Wired links between sites: `link_rate_bps` for each ordered pair."""

    link_rate_bps: Positive


class TwoTimescale(Section):
    """What the two-timescale problem adds: radio, requests, timing, reliability, and which reading of the paper holds."""

    bandwidth_hz: Positive
    noise_power_w: Positive
    tx_power_max_w: Positive
    reference_gain: Positive
    path_loss_exponent: Annotated[Number, Field(ge=2, le=6)]
    rician_factor: NonNegative
    distance_min_m: Positive
    request_probability: Probability
    data_bits: PositiveRange
    cycles_per_bit: PositiveRange
    latency_limit_s: Positive
    slot_s: Positive
    frame_slots: Count
    frames: Count
    migration_slots: Annotated[Whole, Field(ge=0)]
    failure_ratio_max: Probability
    energy_scale_j: Positive
    control_factor: NonNegative
    interference: Literal["physical", "literal"]
    transmitters: Literal["active", "all"]
    observation: Literal["paper", "extended"]
    association: Literal["nearest", "learned"]

    @model_validator(mode="after")
    def _times_fit(self):
        if self.migration_slots >= self.frame_slots and self.migration_slots > 0:
            raise ValueError(
                f"two_timescale.migration_slots = {self.migration_slots}: "
                f"must be below two_timescale.frame_slots = {self.frame_slots}"
            )
        if self.latency_limit_s > self.slot_s:
            raise ValueError(
                f"two_timescale.latency_limit_s = {self.latency_limit_s:g}: "
                f"must not exceed two_timescale.slot_s = {self.slot_s:g}"
            )
        return self


class NetworkSync(Section):
    """What the network-sync problem adds: resource blocks, the link to the cloud, the twin's forecaster, and which reading holds.

    Lengths count in blocks of `block_m`; the cloud server stands `cloud_blocks` from the base station. A packet carries the state of all users or,
    where `refresh` is partial, of up to `packet_users`, and has that share of `data_bits`.
    """

    block_m: Positive
    slot_s: Positive
    slots: Count
    rb_count: Count
    bandwidth_hz: Positive
    tx_power_w: Positive
    noise_density_w_per_hz: Positive
    interference: Literal["log-uniform", "static"]
    interference_w: PositiveRange
    fading: Literal["none", "rayleigh-user", "rayleigh-rb"]
    distance: Literal["euclidean", "literal"]
    distance_min_blocks: Positive
    cloud_blocks: tuple[Number, Number]
    data_bits: Positive
    deadline_s: Positive
    rate_weight: Probability
    history_slots: Annotated[Whole, Field(ge=2)]
    forecaster: Literal["drift", "last", "linear", "kalman", "gru", "gru-printed"]
    packet: Literal["history", "state"]
    refresh: Literal["all", "partial"]
    packet_users: Count | None = None
    observation: Literal["paper", "error", "compact"]
    reward: Literal["cost", "raw"]
    reward_scale: Positive

    @model_validator(mode="after")
    def _packet_fits(self):
        if (self.packet_users is not None) != (self.refresh == "partial"):
            raise ValueError(
                f'network_sync.packet_users = {self.packet_users}: goes with network_sync.refresh = "partial", and only with it'
            )
        return self


class Association(Section):
    """What placement and migration of twins share: radio, data and limits, what serves them, and what it costs.

    `cpu_hz` is drawn for each server and episode and then varies within these limits; without it servers have `servers.cpu_hz` for ever.
    A user's limit is drawn from `latency_limit_s`, but at least `latency_floor_s` + `latency_margin` times its update's time on air.
    `delay_limits`: not in the objective, at the price `violation_price_s` each, or to be kept by whoever can.
    """

    bandwidth_hz: Positive
    bandwidth_use: Literal["per-user", "shared"]
    tx_power_w: Positive
    noise_density_w_per_hz: Positive
    path_loss_1km_db: Positive
    path_loss_decade_db: Positive
    distance_min_m: Positive
    shadowing_db: NonNegative
    shadowing_memory: Memory
    data_bits: PositiveRange
    update_share: PositiveRange
    update_gap_s: Positive
    horizon_s: NonNegative
    cycles_per_bit: Positive
    cpu_hz: PositiveRange | None = None
    cpu_memory: Memory
    cpu_noise: NonNegative
    capacity: Count
    wire_s_per_bit_m: NonNegative
    latency_limit_s: PositiveRange
    latency_floor_s: NonNegative
    latency_margin: NonNegative
    latency_weight: NonNegative
    cost_weight: NonNegative
    open_cost_s: NonNegative
    compute_share: Literal["square-root", "equal", "proportional"]
    delay_limits: Literal["off", "soft", "hard"]
    violation_price_s: NonNegative = 1.0


class Placement(Section):
    """Where twins are placed, anew in each of `slots` slots: 1 for an instance."""

    slots: Count


class Migration(Section):
    """Twins that follow their users over `slots` slots; the servers that are open stay so.

    `compute_share`: F/n to each of the n twins that compute at a server, F/N_k reserved for each, or square-root shares. A move costs
    `utility_weight` times the time of its transfer, once; `priced` spreads that over `horizon_slots`.
    """

    slots: Count
    utility_weight: Probability
    compute_share: Literal["equal", "reserved", "square-root"]
    horizon_slots: Count


SUPPORTED_MOBILITY = {
    "association": ("random-waypoint", "gauss-markov", "goal-tracks", "sf-taxis", "file"),
    "two_timescale": ("gauss-markov", "goal-tracks", "file"),
    "network_sync": ("random-walk", "persistent-walk", "goal-tracks", "file"),
}


class Scenario(Section):
    """A network and the problems it supports. `sources` maps each dotted key to where its value comes from."""

    name: str
    summary: str
    area: Area
    sites: Sites
    users: Users
    servers: Servers | None = None
    backhaul: Backhaul | None = None
    association: Association | None = None
    placement: Placement | None = None
    migration: Migration | None = None
    two_timescale: TwoTimescale | None = None
    network_sync: NetworkSync | None = None
    notes: tuple[str, ...] = ()
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self):
        if self.servers is not None and self.servers.count != "all" and self.servers.count > self.sites.count:
            raise ValueError(f"servers.count = {self.servers.count}: must not exceed sites.count = {self.sites.count}")
        for problem, supported in SUPPORTED_MOBILITY.items():
            if getattr(self, problem) is not None and self.users.mobility not in supported:
                raise ValueError(f'users.mobility = "{self.users.mobility}": with [{problem}] must be {" or ".join(supported)}')
        if self.two_timescale is not None:
            for section in ("servers", "backhaul"):
                if getattr(self, section) is None:
                    raise ValueError(f"[{section}] = none: [two_timescale] needs this section")
        if self.association is not None and self.servers is None:
            raise ValueError("[servers] = none: [association] needs this section")
        for task in ("placement", "migration"):
            if getattr(self, task) is not None and self.association is None:
                raise ValueError(f"[{task}]: needs the section [association] beside it")
        if self.sites.layout == "uniform" and (self.two_timescale is not None or self.network_sync is not None):
            raise ValueError('sites.layout = "uniform": is for [association] alone, which draws sites anew in each episode')
        if (self.sites.layout == "sf-taxi-towers") != (self.users.mobility == "sf-taxis"):
            raise ValueError(
                'sites.layout = "sf-taxi-towers" and users.mobility = "sf-taxis" go together: taxis are known by their towers'
            )
        if self.network_sync is not None:
            self._check_network_sync(self.network_sync)
        return self

    def _check_network_sync(self, section: NetworkSync) -> None:
        if self.sites.count != 1:
            raise ValueError(f"sites.count = {self.sites.count}: must be 1 with [network_sync], which has one base station")
        if section.packet_users is not None and section.packet_users > self.users.count:
            raise ValueError(
                f"network_sync.packet_users = {section.packet_users}: must not exceed users.count = {self.users.count}"
            )
        needed_s = (section.slots + section.history_slots) * section.slot_s
        if self.users.mobility in ("goal-tracks", "file") and self.users.track_duration_min_s < needed_s:
            raise ValueError(
                f"users.track_duration_min_s = {self.users.track_duration_min_s:g}: must be at least {needed_s:g}, the time of "
                f"network_sync.slots = {section.slots} and history_slots = {section.history_slots} slots of {section.slot_s:g} s"
            )
