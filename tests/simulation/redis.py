"""A Redis small enough to be stopped anywhere: the gate's own Lua scripts, run by Lua, over plain dictionaries.

Only what the scripts and a worker's connection use is here.  ``forget`` puts it back to what it was some time ago, as
a kill with an append-only file that is synced every second may (MONEY 6).  After every script ``watch`` is called: the
place where money is counted.
"""

import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

from hiredis import ReplyError
from lupa.lua51 import LuaRuntime

from gateway.credit import lua

Words = list[bytes]


class SimRedis:
    """One server; ``clock_s`` gives Unix seconds, ``texts`` replaces the text of scripts by name (mutations)."""

    def __init__(self, clock_s: Callable[[], float], texts: dict[str, str] | None = None) -> None:
        self.now_s = clock_s
        self._started_s = clock_s()
        self.data: dict[bytes, Any] = {}
        self.run_id = 1
        self.watch: Callable[[], None] = lambda: None
        self.on_restored: Callable[[bytes], None] = lambda account: None
        self.on_recounted: Callable[[bytes], None] = lambda counters: None
        """A rebuild has set this account."""
        self.history: list[tuple[float, bytes]] = []
        self._lua = LuaRuntime(encoding=None, unpack_returned_tuples=True, register_eval=False)
        self._scripts = {
            script.sha.encode(): self._load((texts or {}).get(script.name, script.text)) for script in lua.ALL
        }
        self.loaded = set(self._scripts)

    def _load(self, text: str) -> Any:
        wrapped = "function(redis_call, KEYS, ARGV) local redis = {call = redis_call} " + text + "\nend"
        return self._lua.eval(wrapped.encode())

    # what a connection asks

    def ask(self, words: Words) -> Any:
        """Carry one command out; what Redis would answer, errors as hiredis gives them."""
        name = words[0].upper()
        if name in (b"EVALSHA", b"EVAL"):
            return self._script(words)
        if name == b"SCRIPT":
            self.loaded = set(self._scripts)
            return b"OK"
        if name == b"INFO":
            return "".join(f"{key}:{value}\r\n" for key, value in self.info().items()).encode()
        if name == b"PING":
            return b"PONG"
        if name == b"XLEN":
            return len(self.data.get(words[1], ()))
        if name == b"XADD" and words[2] == b"MAXLEN":
            return self._xadd(words[1], *words[5:])
        return self._bulk(self._call(*words))

    def _script(self, words: Words) -> Any:
        if words[0].upper() == b"EVAL":
            sha = next(known.sha.encode() for known in lua.ALL if known.text.encode() == words[1])
            self.loaded.add(sha)
        else:
            sha = words[1]
        if sha not in self.loaded:
            return ReplyError("NOSCRIPT No matching script. Please use EVAL.")
        count = int(words[2])
        keys, arguments = words[3 : 3 + count], words[3 + count :]
        table = self._lua.table_from
        reply = self._scripts[sha](self._call_in_script, table(keys), table(arguments))
        if sha == lua.RESTORE.sha.encode():
            self.on_restored(keys[1])
        elif sha == lua.RECOUNT.sha.encode():
            self.on_recounted(keys[1])
        self.watch()
        return self._reply(reply)

    def run(self, script: lua.Script, keys: list[str], arguments: list[Any]) -> Any:
        """A script by its name, for what is no worker: settler and sweep."""
        words = [b"EVAL", script.text.encode(), str(len(keys)).encode()]
        return self.ask([*words, *(key.encode() for key in keys), *(_bytes(word) for word in arguments)])

    def _reply(self, value: Any) -> Any:
        """From Lua as Redis gives it to a client: numbers are cut, tables are lists up to their first nil."""
        if isinstance(value, bool) or value is None:
            return 1 if value else None
        if isinstance(value, int | float):
            return int(value)
        if isinstance(value, bytes):
            return value
        if isinstance(value, list):
            return [self._reply(each) for each in value]
        found = []
        for index in range(1, len(value) + 1):
            found.append(self._reply(value[index]))
        return found

    def _bulk(self, value: Any) -> Any:
        if value is False:
            return None
        if isinstance(value, float):
            return int(value)
        return value if isinstance(value, bytes | int | list) else self._reply(value)

    # what scripts ask

    def _call(self, name: bytes, *words: Any) -> Any:
        act = getattr(self, "_" + name.decode().lower())
        return act(*(_bytes(word) for word in words))

    def _call_in_script(self, name: bytes, *words: Any) -> Any:
        return self._to_lua(self._call(name, *words))

    def _to_lua(self, value: Any) -> Any:
        """Lists are tables there."""
        return self._lua.table_from([self._to_lua(each) for each in value]) if isinstance(value, list) else value

    def _get(self, key: bytes) -> Any:
        return self.data.get(key, False)

    def _set(self, key: bytes, value: bytes, *options: bytes) -> Any:
        self.data[key] = value
        return b"OK"

    def _setnx(self, key: bytes, value: bytes) -> int:
        return int(self.data.setdefault(key, value) is value)

    def _expire(self, key: bytes, _seconds: bytes) -> int:
        """No story lasts a day."""
        return int(key in self.data)

    def _sadd(self, key: bytes, member: bytes) -> int:
        self.data.setdefault(key, {})[member] = True
        return 1

    def _srem(self, key: bytes, *members: bytes) -> int:
        for member in members:
            self.data.get(key, {}).pop(member, None)
        return len(members)

    def _smembers(self, key: bytes) -> list[bytes]:
        return list(self.data.get(key, ()))

    def _hgetall(self, key: bytes) -> list[bytes]:
        return [word for pair in self.data.get(key, {}).items() for word in pair]

    def _hkeys(self, key: bytes) -> list[bytes]:
        return list(self.data.get(key, ()))

    def _hincrby(self, key: bytes, field: bytes, change: bytes) -> int:
        row = self.data.setdefault(key, {})
        row[field] = b"%d" % (int(row.get(field, b"0")) + int(change))
        return int(row[field])

    def _xrange(self, key: bytes, first: bytes, last: bytes, *_limit: bytes) -> list[Any]:
        """All of a stream, or the one entry that both ends name."""
        entries = [
            [b"%d-0" % number, [word for pair in entry.items() for word in pair]]
            for number, entry in self.data.get(key, ())
        ]
        return entries if first == b"-" else [entry for entry in entries if entry[0] == first == last]

    def _xdel(self, key: bytes, *ids: bytes) -> int:
        stream = self.data.get(key, [])
        stream[:] = [each for each in stream if b"%d-0" % each[0] not in ids]
        return len(ids)

    def _del(self, key: bytes) -> int:
        return int(self.data.pop(key, None) is not None)

    def _hget(self, key: bytes, field: bytes) -> Any:
        return self.data.get(key, {}).get(field, False)

    def _hmget(self, key: bytes, *fields: bytes) -> Any:
        row = self.data.get(key, {})
        return self._lua.table_from([row.get(field, False) for field in fields])

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        self.data.setdefault(key, {}).update(zip(pairs[::2], pairs[1::2], strict=True))
        return 0

    def _hexists(self, key: bytes, field: bytes) -> int:
        return int(field in self.data.get(key, {}))

    def _hdel(self, key: bytes, field: bytes) -> int:
        return int(self.data.get(key, {}).pop(field, None) is not None)

    def _zadd(self, key: bytes, score: bytes, member: bytes) -> int:
        self.data.setdefault(key, {})[member] = float(score)
        return 0

    def _zrem(self, key: bytes, member: bytes) -> int:
        return int(self.data.get(key, {}).pop(member, None) is not None)

    def _zscore(self, key: bytes, member: bytes) -> Any:
        score = self.data.get(key, {}).get(member)
        return False if score is None else _bytes(score)

    def _zrange(self, key: bytes, _first: bytes, _last: bytes, *scores: bytes) -> list[bytes]:
        """All of them; with WITHSCORES each one's score behind it."""
        ordered = sorted((score, member) for member, score in self.data.get(key, {}).items())
        return [word for score, member in ordered for word in ((member, _bytes(score)) if scores else (member,))]

    def _zrangebyscore(self, key: bytes, low: bytes, high: bytes, *limit: bytes) -> Any:
        found = sorted((score, member) for member, score in self.data.get(key, {}).items() if score <= float(high))
        return self._lua.table_from([member for _, member in found[: int(limit[2]) if limit else None]])

    def _xadd(self, key: bytes, _id: bytes, *pairs: bytes) -> bytes:
        stream = self.data.setdefault(key, [])
        last = stream[-1][0] if stream else self.data.get(b"last " + key, 0)
        number = max(last + 1, int(self.now_s() * 1000))
        self.data[b"last " + key] = number
        entry = dict(zip(pairs[::2], pairs[1::2], strict=True))
        stream.append((number, entry))
        if b"charge" in entry:
            self._note_charge(entry)
        return b"%d-0" % number

    def _note_charge(self, entry: dict[bytes, bytes]) -> None:
        """What was ever charged, beside the stream that is trimmed: part of the data, so forgotten with it."""
        call_id, tenant = entry[b"call"].decode().split(" ")
        charge_id = f"{call_id}:late" if entry[b"kind"] == b"late" else call_id
        charged = self.data.setdefault(b"charged", {})
        micros = int(entry[b"charge"])
        again = charged.get(charge_id, (tenant, 0)) == (tenant, micros) == (tenant, 0)  # a call that cost nothing
        assert charge_id not in charged or again, f"{charge_id} is charged twice"
        charged[charge_id] = (tenant, micros)
        used = {f"used {source}": minutes for minutes, source in _lines(entry.get(b"pools", b""))}
        spent = {f"spent {bucket}": much for much, bucket in _lines(entry.get(b"spent", b""))}
        self.data.setdefault(b"counted", {})[charge_id] = (tenant, Counter(used | spent))

    def _time(self) -> Any:
        now_s = self.now_s()
        return self._lua.table_from([b"%d" % int(now_s), b"%d" % int(now_s % 1 * 1e6)])

    def info(self) -> dict[str, Any]:
        """What INFO tells, as far as anybody asks."""
        return {
            "run_id": str(self.run_id),
            "uptime_in_seconds": int(self.now_s() - self._started_s),
            "role": "master",
            "master_replid": f"replid-{self.run_id}",
            "second_repl_offset": -1,
        }

    # what fate does

    def become(self, data: dict[bytes, Any], *, another_run: bool) -> None:
        """All it knows is ``data``; as after FLUSHALL, or as ``another_run``: a replica, or a start of its own."""
        self.data = data
        self.history = [(self.history[-1][0] if self.history else 0.0, pickle.dumps(data))]
        if another_run:
            self.run_id += 1
            self._started_s = self.now_s()
            self.loaded = set()

    def remember(self, at_s: float, keep_s: float) -> None:
        """Keep a picture of everything, and let go of pictures older than ``keep_s``."""
        self.history.append((at_s, pickle.dumps(self.data)))
        while self.history[0][0] < at_s - keep_s and len(self.history) > 1:
            self.history.pop(0)

    def forget(self, since_s: float) -> None:
        """Start again as another run, without what was written after ``since_s`` (the newest picture before it)."""
        before = [picture for at_s, picture in self.history if at_s <= since_s]
        self.data = pickle.loads(before[-1] if before else self.history[0][1])
        self.history = [(since_s, pickle.dumps(self.data))]
        self.run_id += 1
        self._started_s = self.now_s()
        self.loaded = set()

    def before(self, moment_s: float) -> dict[bytes, Any]:
        """What it knew at a moment: the newest picture before it, or the oldest there is."""
        pictures = [picture for at_s, picture in self.history if at_s <= moment_s] or [self.history[0][1]]
        found: dict[bytes, Any] = pickle.loads(pictures[-1])
        return found


def _lines(text: bytes) -> list[tuple[int, str]]:
    rows = (line.partition(" ") for line in text.decode().split("\n") if line)
    return [(int(much), rest) for much, _, rest in rows]


def _bytes(word: Any) -> bytes:
    if isinstance(word, bytes):
        return word
    if isinstance(word, float) and word.is_integer():
        word = int(word)
    return str(word).encode()
