"""Lines become updates or one reason why not; a checksum finds every flipped bit."""

import json
import random
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetwin.twin.kinds import checker, read_kinds
from edgetwin.twin.messages import MAX_LINE_BYTES, REASONS, Bad, Update, line_of, parse

GOOD = Update("car-7", 3, 42, 1000.0, {"x_m": 12.5, "y_m": 88.1})
NOW_S = 1001.0
VALUES = st.none() | st.booleans() | st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False)
VEHICLE = read_kinds()["vehicle"]


def of(**changes):
    fields = {**GOOD._asdict(), **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def reason_of(line, now_s=NOW_S):
    with pytest.raises(Bad) as found:
        checker(VEHICLE)(parse(line), now_s)
    assert found.value.reason in REASONS
    return found.value


def test_a_line_is_the_update_it_was_made_of():
    assert parse(line_of(GOOD)) == GOOD
    assert parse(of()) == GOOD
    checker(VEHICLE)(GOOD, NOW_S)


@given(
    st.builds(
        Update,
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True),
        st.integers(1, 2**63 - 1),
        st.integers(1, 2**63 - 1),
        st.floats(0, 1e10),
        st.dictionaries(
            st.text(max_size=10),
            st.none() | st.booleans() | st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False),
            min_size=1,
            max_size=5,
        ),
    )
)
def test_every_update_survives_its_line(update):
    assert parse(line_of(update)) == update


@pytest.mark.parametrize(
    ("line", "reason", "said"),
    [
        (b"", "malformed", "Expecting value"),
        (b"\xff\xfe{}", "malformed", "utf-8"),
        (b"[1, 2]", "malformed", "not an object"),
        (b"{" * 5000, "malformed", ""),
        (b"[" * 60_000, "malformed", ""),
        (b'{"device":"car-7"', "malformed", "Expecting"),
        (of(seq=...), "malformed", "seq is missing"),
        (of(speed=3), "malformed", '"speed" is no field'),
        (of(device=7), "malformed", "device = 7"),
        (of(device="a/b"), "malformed", "letters, digits"),
        (of(device=""), "malformed", "letters, digits"),
        (of(device="x" * 129), "malformed", "at most 128"),
        (of(seq=0), "malformed", "seq = 0: a whole number from 1"),
        (of(seq=1.0), "malformed", "seq = 1.0"),
        (of(seq=True), "malformed", "seq = true"),
        (of(boot_id=2**63), "malformed", "2^63 - 1"),
        (of(time_s="now"), "malformed", "time_s"),
        (of(time_s=10**400), "not-a-number", "time_s"),
        (of(state={}), "malformed", "at least one property"),
        (of(state=[1]), "malformed", "state"),
        (of(state={"x_m": float("nan"), "y_m": 1}), "not-a-number", "NaN"),
        (of(state={"x_m": float("-inf"), "y_m": 1}), "not-a-number", "-Infinity"),
        (b'{"device":"a","boot_id":1,"seq":1,"time_s":1000,"state":{"x_m":1e999,"y_m":1}}', "not-a-number", "x_m is not finite"),
        (of(state={"x_m": 1, "y_m": 2e6}), "out-of-range", "y_m = 2000000.0: from -1e+06 to 1e+06"),
        (of(state={"x_m": 1, "y_m": 10**400}), "out-of-range", "y_m"),
        (of(state={"x_m": 1}), "missing", "y_m"),
        (of(state={"x_m": None, "y_m": 1}), "missing", "x_m"),
        (of(state={"x_m": "1", "y_m": 1}), "wrong-type", "x_m: number, not str"),
        (of(state={"x_m": True, "y_m": 1}), "wrong-type", "x_m: number, not bool"),
        (of(state={"x_m": 1, "y_m": 1, "occupied": 1}), "wrong-type", "occupied: boolean, not int"),
        (of(state={"x_m": 1, "y_m": 1, "sped_mps": 1}), "unknown-property", "did you mean speed_mps?"),
        (of(time_s=1007.0), "clock-skew", "measured 6.0 s from now: at most 5 s"),
        (of(time_s=1000.0 - 8 * 86400), "too-old", "history reaches back 604800 s"),
        (b" " * (MAX_LINE_BYTES + 1), "too-large", "at most 65536"),
        (line_of(GOOD).replace(b"12.5", b"12.6"), "damaged", "crc32 is"),
        (of()[:-1] + b',"crc32":"0000000g"}', "malformed", "crc32"),
        (of()[:-1] + b',"crc32": "00000000"}', "malformed", "crc32"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(line, reason, said):
    found = reason_of(line)
    assert found.reason == reason
    assert said in found.detail
    assert len(found.detail) < 400


def test_who_sent_it_is_known_as_far_as_it_can_be():
    found = reason_of(of(state={"x_m": 1}))
    assert (found.device, found.boot_id, found.seq) == ("car-7", 3, 42)
    assert reason_of(of(seq=-1)).device == "car-7"
    assert reason_of(of(seq=..., device="\ud800")).device is None


def test_every_flipped_bit_of_a_line_is_found():
    line = line_of(GOOD)
    for place in range(8 * len(line)):
        flipped = bytearray(line)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(Bad):
            parse(bytes(flipped))


def test_no_bytes_whatever_crash_the_parser():
    random.seed(1)
    for _ in range(20_000):
        line = bytearray(line_of(GOOD))
        for _ in range(random.randrange(1, 4)):
            line[random.randrange(len(line))] = random.randrange(256)
        with suppress(Bad):
            parse(bytes(line))


def test_a_checksum_covers_the_bytes_before_it():
    body = b'{"device":"a","boot_id":1,"seq":1,"time_s":1,"state":{"x_m":1.50}'
    assert parse(body + b',"crc32":"%08x"}\r\n' % zlib.crc32(body)).state == {"x_m": 1.5}
