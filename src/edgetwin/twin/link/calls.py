"""The calls that a host obeys, each with how its arguments and its result pass the link. Logs travel beside them, in parts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from edgetwin.twin.link.frames import PROTOCOL, Garbled
from edgetwin.twin.messages import Quarantined
from edgetwin.twin.moves.endpoint import Frozen, OpenMove
from edgetwin.twin.moves.parcel import Base, Parcel, Tail
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.refusal import Refused

SHORT_S, LONG_S = 10.0, 120.0
"""How long an answer may take, of most calls and of those whose work grows with a twin's log or with all twins."""


class Form(NamedTuple):
    """How a value passes: `pack` gives plain data and entries, `unpack` the value again."""

    pack: Callable[[Any], tuple[Any, Sequence[Entry]]]
    unpack: Callable[[Any, list[Entry]], Any]


class Call(NamedTuple):
    """A call: its arguments by name, its result, and whether it is the host's part in moves."""

    takes: Mapping[str, Form]
    gives: Form
    limit_s: float = SHORT_S
    of_endpoint: bool = True


def _form(pack: Callable[[Any], Any], unpack: Callable[[Any], Any]) -> Form:
    return Form(lambda value: (pack(value), ()), lambda data, _: unpack(data))


PLAIN = _form(lambda value: value, lambda data: data)
TWIN = _form(list, lambda row: Twin(*row))
TWINS = _form(list, lambda rows: [Twin(*row) for row in rows])
PAIR = _form(list, tuple)
PLACE_IN_LOG = _form(lambda before: before, lambda before: None if before is None else tuple(before))
STATE = _form(dict, dict)
LOG = Form(lambda entries: (None, entries), lambda _, entries: entries)
PARCEL = Form(lambda one: ([one.twin, one.base], one.entries), lambda data, log: Parcel(Twin(*data[0]), Base(*data[1]), log))
TAIL = Form(lambda one: (one.twin, one.entries), lambda row, log: Tail(Twin(*row), log))
FROZEN = Form(
    lambda one: ([one.tail.twin, one.hash], one.tail.entries), lambda data, log: Frozen(Tail(Twin(*data[0]), log), data[1])
)
OPEN_MOVES = _form(list, lambda rows: [OpenMove(*row) for row in rows])
QUARANTINE = _form(
    lambda found: [(*one[:3], one.message.decode("latin-1"), one.received_s) for one in found],
    lambda rows: [Quarantined._make((*row[:3], row[3].encode("latin-1"), row[4])) for row in rows],
)

_MOVE: Mapping[str, Form] = {"twin": PLAIN, "move": PLAIN}
CALLS: Mapping[str, Call] = {
    "create": Call({"twin": TWIN}, TWIN, of_endpoint=False),
    "desire": Call({"twin_id": PLAIN, "changes": STATE, "if_revision": PLAIN}, TWIN, of_endpoint=False),
    "erase": Call({"twin_id": PLAIN}, PLAIN, LONG_S, False),
    "trim": Call({}, PLAIN, LONG_S, False),
    "entries": Call({"twin_id": PLAIN, "limit": PLAIN, "before": PLACE_IN_LOG}, LOG, of_endpoint=False),
    "at": Call({"twin_id": PLAIN, "revision": PLAIN, "time_s": PLAIN}, PAIR, LONG_S, False),
    "quarantined": Call({"limit": PLAIN, "device": PLAIN}, QUARANTINE, of_endpoint=False),
    "quarantine_counts": Call({}, STATE, of_endpoint=False),
    "adopt": Call({"ids": PLAIN}, TWINS, of_endpoint=False),
    "shelve": Call({"ids": PLAIN}, PLAIN, of_endpoint=False),
    "reserve": Call({"twin": TWIN, "move": PLAIN}, PLAIN),
    "copy": Call(_MOVE, PARCEL, LONG_S),
    "stage": Call({"parcel": PARCEL, "move": PLAIN}, PLAIN, LONG_S),
    "tail": Call(_MOVE, TAIL),
    "extend": Call({"tail": TAIL, "move": PLAIN}, PLAIN, LONG_S),
    "freeze": Call({**_MOVE, "destination": PLAIN}, FROZEN),
    "verify": Call({"frozen": FROZEN, "move": PLAIN}, PLAIN),
    "activate": Call({**_MOVE, "epoch": PLAIN}, TWIN),
    "release": Call(_MOVE, PLAIN, LONG_S),
    "thaw": Call(_MOVE, PLAIN),
    "discard": Call(_MOVE, PLAIN, LONG_S),
    "open_moves": Call({}, OPEN_MOVES),
}


def known(name: Any, host: str) -> Call:
    """A call by its name. Raises Refused."""
    if name not in CALLS:
        raise Refused(
            501, f"{host}: the call {str(name)[:50]!r} is not known in protocol {PROTOCOL}; run the same edgetwin on both sides"
        )
    return CALLS[name]


def packed(call: Call, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[Entry]]:
    """Arguments as plain data, and the entries that one of them has."""
    fields: dict[str, Any] = {}
    log: Sequence[Entry] = ()
    for name, value in arguments.items():
        fields[name], entries = call.takes[name].pack(value)
        log = entries or log
    return fields, log


def unpacked(call: Call, fields: Any, log: list[Entry]) -> dict[str, Any]:
    """The arguments again. Raises Garbled, Refused for arguments that are not the call's."""
    if not isinstance(fields, dict) or fields.keys() != call.takes.keys():
        raise Refused(
            501, f"arguments {', '.join(map(str, fields))[:100]}: there are {', '.join(call.takes)} in protocol {PROTOCOL}"
        )
    return {name: opened(form, fields[name], log) for name, form in call.takes.items()}


def opened(form: Form, data: Any, log: list[Entry]) -> Any:
    """A value from what passed the link. Raises Garbled."""
    try:
        return form.unpack(data, log)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise Garbled(f"not what was agreed on ({error})") from None
