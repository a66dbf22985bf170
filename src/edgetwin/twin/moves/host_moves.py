"""What a host does in a move: `Endpoint` over its store and its writer. What takes long is read and hashed before the twin is frozen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from edgetwin.twin.moves.endpoint import Away, Frozen, OpenMove
from edgetwin.twin.moves.failpoints import reached
from edgetwin.twin.moves.halves import Copied, Followed, key_of
from edgetwin.twin.moves.parcel import Base, Parcel, Tail, hash_of
from edgetwin.twin.record import Entry, Twin
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.stores.store import Conflict, Store, StoreUnavailable

if TYPE_CHECKING:
    from edgetwin.twin.host import Host

P = ParamSpec("P")
T = TypeVar("T")

PART = 500
"""Entries that are written together, so that other twins need not wait long."""
ENDED_KEPT = 10_000
"""Moves whose end is remembered."""


def _between_failpoints(call: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A call of an endpoint between its failpoints `host-CALL` and `host-CALL-done`."""

    @wraps(call)
    async def made(*values: P.args, **named: P.kwargs) -> T:
        await reached(f"host-{call.__name__}")
        answer = await call(*values, **named)
        await reached(f"host-{call.__name__}-done")
        return answer

    return made


class HostMoves:
    """A host's part in moves. `frozen` are its twins that take no changes, each with its move; `followed` those that are being copied."""

    def __init__(self, host: Host):
        self._host, self.name, self.place = host, host.name, host.store.place
        self.frozen: dict[str, str] = {}
        self.followed: dict[str, Followed] = {}
        self._copied: dict[str, Copied] = {}
        self._ended: dict[str, None] = {}

    def load(self) -> None:
        """Reads which twins are frozen. Where the store does not keep that, those that were stay so. Copies do not go on: a commit that failed may
        have been made, and then some of what it added was not heard."""
        held = self._host.twins
        self.frozen = {twin: move for twin, move in self.frozen.items() if twin in held} | dict(self._host.store.leaving())
        self.followed = {twin: one for twin, one in self.followed.items() if twin in held and self._host.store.shared}

    @property
    def moving(self) -> set[str]:
        """Twins of which this host has a part in a move."""
        return {*self.frozen, *self.followed, *(twin for twin, _ in self._host.store.arriving())}

    def heard(self, entries: Iterable[Entry]) -> None:
        """Remembers what is new of twins that are being copied. In the writer's thread."""
        for entry in entries if not self._host.store.shared else ():
            if (followed := self.followed.get(entry.twin)) is not None:
                followed.new.append(entry)

    def forget(self, ids: Iterable[str]) -> None:
        """Ends moves of twins that another host has taken, or that were erased. In the writer's thread."""
        for twin in ids:
            for moves in (self.frozen, self.followed, self._copied):
                moves.pop(twin, None)

    @_between_failpoints
    async def reserve(self, twin: Twin, move: str) -> None:
        self._still_open(move)
        if twin.kind not in self._host.kinds:
            raise Refused(409, f"{self.name} does not know the kind {twin.kind} of {twin.id}")
        if twin.id in self._host.twins:
            raise Refused(409, f"{self.name} holds {twin.id} already")

    @_between_failpoints
    async def copy(self, twin: str, move: str) -> Parcel:
        def follow() -> tuple[Twin, Followed]:
            self._still_open(move)
            there = self._held(twin)
            if twin in self.frozen:
                raise Refused(409, f"{twin} is frozen by the move {self.frozen[twin]}")
            followed = self.followed[twin] = Followed(move)
            return there, followed

        there, followed = await self._do(follow)
        if self._host.store.shared:
            return Parcel(there, Base(), [])

        def read(store: Store) -> Parcel:
            revision, state, entries = store.history(twin)
            parcel = Parcel(there, Base(revision, state), list(entries))
            followed.base = parcel.base
            followed.tell(parcel.entries)
            return parcel

        return await self._read(read)

    @_between_failpoints
    async def stage(self, parcel: Parcel, move: str) -> None:
        twin, base, entries = parcel
        if (before := self._copied.get(twin.id)) is not None and before.move == move:
            return

        def make_room() -> bool:
            """Takes away an old copy that is not served, which would be in the way."""
            self._still_open(move)
            if twin.id not in self._host.shelved:
                return False
            self._host.store.freeze(twin.id, move)
            if self._host.store.release(twin.id, move):
                return True
            self._host.shelved.discard(twin.id)
            return False

        def begin_anew() -> None:
            self._still_open(move)
            self._copied.pop(twin.id, None)
            self._host.store.stage(Parcel(twin, base, entries[:PART]), move)

        while await self._do(make_room):
            pass
        try:
            await self._do(begin_anew)
        except Conflict as conflict:
            raise Refused(409, str(conflict)) from None
        for begin in range(PART, len(entries), PART):
            await self._extend(Tail(twin, entries[begin : begin + PART]), move)

        def read_back(store: Store) -> Copied | None:
            there = store.staged(twin.id, move)
            if there is None:
                return None
            copied = Copied(move, there.base)
            copied.add(there.entries)
            return copied

        if (copied := await self._read(read_back)) is None:
            raise self._no_copy(twin.id, move)
        self._copied[twin.id] = copied

    @_between_failpoints
    async def tail(self, twin: str, move: str) -> Tail:
        return await self._do(lambda: self._following(twin, move).tail(self._held(twin)))

    @_between_failpoints
    async def extend(self, tail: Tail, move: str) -> None:
        for begin in range(0, max(len(tail.entries), 1), PART):
            await self._extend(Tail(tail.twin, tail.entries[begin : begin + PART]), move)

    @_between_failpoints
    async def freeze(self, twin: str, move: str, destination: str) -> Frozen:
        def work() -> Frozen:
            self._still_open(move)
            if self._host.store.shared:
                self.followed.setdefault(twin, Followed(move))
            followed = self._following(twin, move)
            if followed.frozen is None:
                there = self._held(twin)
                if not self._host.store.freeze(twin, move):
                    raise Refused(409, f"{twin} cannot be frozen by the move {move}")
                self.frozen[twin] = move
                followed.frozen = Frozen(tail := followed.tail(there), hash_of(tail.twin, followed.base, followed.sum))
            return followed.frozen

        return await self._do(work)

    @_between_failpoints
    async def verify(self, frozen: Frozen, move: str) -> None:
        twin = frozen.tail.twin.id

        def work() -> str:
            if (before := self._verified(twin, move)) is not None:
                return before
            there = self._add(frozen.tail, move)
            copied = Copied(move) if self._host.store.shared else self._copied.get(twin)
            if copied is None or copied.move != move:
                raise self._no_copy(twin, move)
            if (found := hash_of(there, copied.base, copied.sum)) == frozen.hash:
                copied.verified = found
            return found

        if (found := await self._do(work)) != frozen.hash:
            raise Refused(409, f"the copy of {twin} at {self.name} has hash {found[:12]}…, not {frozen.hash[:12]}…")

    @_between_failpoints
    async def activate(self, twin: str, move: str, epoch: int) -> Twin:
        def work() -> Twin:
            there = self._host.twins.get(twin)
            if there is None or there.epoch != epoch:
                there = self._host.store.activate(twin, move, epoch)
                if there is None:
                    raise self._no_copy(twin, move)
                self._host.hold([there])
            self._copied.pop(twin, None)
            self._ends(twin, move)
            return there

        return await self._do(work)

    @_between_failpoints
    async def release(self, twin: str, move: str) -> None:
        def work() -> bool:
            self._ends(twin, move)
            more = self._host.store.release(twin, move)
            if self.frozen.get(twin) == move or self._is_given_away(twin, move):
                self.forget([twin])
                self._host.drop([twin])
            return more

        while await self._do(work):
            pass

    @_between_failpoints
    async def thaw(self, twin: str, move: str) -> None:
        def work() -> None:
            self._host.store.thaw(twin, move)
            self._ends(twin, move)
            if self.frozen.get(twin) == move:
                del self.frozen[twin]

        await self._do(work)

    @_between_failpoints
    async def discard(self, twin: str, move: str) -> None:
        def work() -> bool:
            self._ends(twin, move)
            if twin in self._copied and self._copied[twin].move == move:
                del self._copied[twin]
            return self._host.store.discard(twin, move)

        while await self._do(work):
            pass

    async def open_moves(self) -> list[OpenMove]:
        def work() -> list[OpenMove]:
            copies = [OpenMove(twin, move, "destination") for twin, move in self._host.store.arriving()]
            leaving = {twin: followed.move for twin, followed in self.followed.items()} | self.frozen
            return [*(OpenMove(twin, move, "source") for twin, move in leaving.items()), *copies]

        return await self._do(work)

    async def _do(self, work: Callable[[], Any]) -> Any:
        try:
            return await self._host.do(work)
        except Full as full:
            raise Away(str(full)) from None

    async def _read(self, read: Callable[[Any], Any]) -> Any:
        try:
            return await self._host.read(read)
        except StoreUnavailable as error:
            raise Away(str(error)) from None

    async def _extend(self, tail: Tail, move: str) -> None:
        await self._do(lambda: None if self._verified(tail.twin.id, move) else self._add(tail, move))

    def _add(self, tail: Tail, move: str) -> Twin:
        """Adds a tail to a copy; returns the record as it is on disk after that. In the writer's thread."""
        self._still_open(move)
        store, twin = self._host.store, tail.twin.id
        record = store.record(twin, move) if store.extend(tail, move) else None
        if record is None:
            raise self._no_copy(twin, move)
        if (copied := self._copied.get(twin)) is not None and copied.move == move and not store.shared:
            copied.add(store.found([key_of(entry) for entry in tail.entries]))
        return record

    def _verified(self, twin: str, move: str) -> str | None:
        """The hash of the copy of a move, where it was verified."""
        copied = self._copied.get(twin)
        return copied.verified if copied is not None and copied.move == move else None

    def _ends(self, twin: str, move: str) -> None:
        """The end of a move was heard of: what of it is asked for later, since it was held up on its way, is refused. In the writer's thread."""
        self._ended[move] = None
        if len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        if twin in self.followed and self.followed[twin].move == move:
            del self.followed[twin]

    def _still_open(self, move: str) -> None:
        if move in self._ended:
            raise Refused(409, f"the move {move} has ended at {self.name}")

    def _is_given_away(self, twin: str, move: str) -> bool:
        """Whether a shared store says that another host has a twin that is still served here."""
        there = self._host.twins.get(twin)
        return self._host.store.shared and there is not None and self._host.store.activate(twin, move, there.epoch) is None

    def _no_copy(self, twin: str, move: str) -> Refused:
        return Refused(409, f"{self.name} has no copy of {twin} by the move {move}")

    def _held(self, twin: str) -> Twin:
        there = self._host.twins.get(twin)
        if there is None:
            raise Refused(404, f"{self.name} does not hold {twin}")
        return there

    def _following(self, twin: str, move: str) -> Followed:
        followed = self.followed.get(twin)
        if followed is None or followed.move != move:
            raise Refused(409, f"{self.name} does not copy {twin} by the move {move}")
        return followed
