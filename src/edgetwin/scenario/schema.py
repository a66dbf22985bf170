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
    """Base-station sites: a layout of the problem, or the best-spread `count` of those in a file or data set."""

    count: Count
    layout: Literal["lloyd", "optus-melbourne-cbd", "file"]
    file: str | None = None

    @model_validator(mode="after")
    def _file_goes_with_layout(self):
        _check_file("sites.layout", self.layout, "sites.file", self.file)
        return self


class Users(Section):
    """Mobile users and how they move: Gauss-Markov (two-timescale (1)-(4)), or real tracks laid over the area."""

    count: Count
    mobility: Literal["gauss-markov", "goal-tracks", "file"]
    file: str | None = None
    mean_speed_mps: NonNegativeRange = (2.0, 10.0)
    speed_memory: Memory = 0.9
    direction_memory: Memory = 0.9
    speed_noise_mps: NonNegative = 1.0
    direction_noise_rad: NonNegative = 0.3
    track_gap_max_s: Positive = 30.0
    track_span_max_m: Positive = 1000.0
    track_duration_min_s: Positive = 60.0

    @model_validator(mode="after")
    def _file_goes_with_mobility(self):
        _check_file("users.mobility", self.mobility, "users.file", self.file)
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


class Scenario(Section):
    """A network and the problems it supports. `sources` maps each dotted key to where its value comes from."""

    name: str
    summary: str
    area: Area
    sites: Sites
    users: Users
    servers: Servers
    backhaul: Backhaul
    two_timescale: TwoTimescale | None = None
    notes: tuple[str, ...] = ()
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self):
        if self.servers.count != "all" and self.servers.count > self.sites.count:
            raise ValueError(f"servers.count = {self.servers.count}: must not exceed sites.count = {self.sites.count}")
        return self
