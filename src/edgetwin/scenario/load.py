"""From a name or a TOML file, with `--set` overrides, to a checked `Scenario`; and what to say when it cannot be."""

import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edgetwin.errors import InputError
from edgetwin.scenario.schema import Scenario

_TOP = ("name", "summary", "notes", "sources", "extends")


def names() -> list[str]:
    """The built-in scenarios, by name (`PROBLEM/VARIANT`, or a place)."""
    folder = resources.files("edgetwin.scenario") / "presets"
    return sorted(_read(file, file.name)["name"] for file in folder.iterdir() if file.name.endswith(".toml"))


def scenario(name: str | Path, settings: Mapping[str, Any] | None = None) -> Scenario:
    """The scenario called `name`, or in the TOML file at that path, with dotted `settings` such as {"users.count": 20}.

    Raises InputError with one line that names the key, the value and what is allowed.
    """
    values = _values(str(name))
    for key, value in (settings or {}).items():
        _set(values, key, value)
    return _checked(values)


def replace(base: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """A copy of a scenario with dotted `settings` changed, checked again as a whole."""
    values = base.model_dump()
    for key, value in settings.items():
        _set(values, key, value)
    return _checked(values)


def digest(scenario: Scenario) -> str:
    """SHA-256 over what decides behaviour: every value, and what is in the files it names (wherever they lie), but no words about it."""
    values = scenario.model_dump(mode="json", exclude={"name", "summary", "notes", "sources"}, exclude_none=True)
    for section in ("sites", "users"):
        if "file" in values[section]:
            values[section]["file"] = hashlib.sha256(Path(values[section]["file"]).read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def parse_setting(text: str) -> tuple[str, Any]:
    """`a.b=v` as (key, value); v is read as TOML where it can be (numbers, lists, true), else as a word."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {text}: write it as key=value, for example users.count=20")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _values(name: str, folder: Path = Path(), above: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a scenario and those it `extends` say, as one tree; a path is relative to `folder`, that of the file that names it."""
    path = folder / name
    if name in names():
        identity, folder = name, Path()
        values = _read(resources.files("edgetwin.scenario") / "presets" / (name.replace("/", "-") + ".toml"), name)
    elif path.suffix == ".toml" or os.path.isfile(path):
        identity, folder = os.path.abspath(path), path.parent
        values = _from_file(path)
    else:
        raise InputError(
            f"scenario {name!r} is not known: choose one of {', '.join(names())}, or name a .toml file{_hint(name, names())}"
        )
    if identity in above:
        raise InputError(f"scenario {name}: extends itself, by way of {' -> '.join((*above, identity))}")
    parent = values.pop("extends", None)
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise InputError(f"scenario {name}: extends = {_shown(parent)}: must be the name or the path of a scenario")
    return _merge(_values(parent, folder, (*above, identity)), values)


def _from_file(path: Path) -> dict[str, Any]:
    """A user's own file: its name, and its paths and sources as far as it leaves them open."""
    values = _read(path, str(path))
    values.setdefault("name", path.stem)
    values.setdefault("summary", f"from {path}")
    _anchor_files(values, path.parent)
    named = values.setdefault("sources", {})
    if not isinstance(named, dict):
        raise InputError(
            f'scenario {path}: sources = {_shown(named)}: must be a section of lines like "users.count" = "where it comes from"'
        )
    for key in _leaves(values):
        named.setdefault(key, f"file {path.name}")
    if "extends" not in values:
        for key in _known_keys():
            if key.split(".")[0] in values:
                named.setdefault(key, "default")
    return values


def _read(file: Any, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"scenario {name}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise InputError(f"scenario {name}: is not valid TOML ({error})") from None


def _anchor_files(values: dict[str, Any], folder: Path) -> None:
    for section in ("sites", "users"):
        file = values.get(section, {}).get("file") if isinstance(values.get(section), dict) else None
        if isinstance(file, str):
            values[section]["file"] = str(folder / file)


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        merged[key] = _merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return merged


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in values.items():
        if not prefix and key in _TOP:
            continue
        keys += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    if key not in _known_keys():
        raise InputError(_unknown(key, value))
    section, _, field = key.partition(".")
    if not isinstance(values.get(section), dict):
        raise InputError(f"{key} = {_shown(value)}: scenario {values.get('name')} has no section [{section}]")
    values[section] = {**values[section], field: value}
    values["sources"] = {**values.get("sources", {}), key: "set by the user"}


def _known_keys() -> list[str]:
    keys = []
    for section, field in Scenario.model_fields.items():
        for model in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(model, type) and issubclass(model, BaseModel):
                keys += [f"{section}.{name}" for name in model.model_fields]
    return keys


def _hint(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


def _unknown(key: str, value: Any) -> str:
    """What to say of a key that no scenario has."""
    section, _, field = key.rpartition(".")
    siblings = [known.removeprefix(f"{section}.") for known in _known_keys() if known.startswith(f"{section}.")]
    elsewhere = [known for known in _known_keys() if known.endswith(f".{field}")]
    if close := difflib.get_close_matches(field, siblings, n=1):
        hint = f" (did you mean {section}.{close[0]}?)"
    elif elsewhere:
        hint = f" (did you mean {' or '.join(elsewhere)}?)"
    elif siblings:
        hint = f": [{section}] has {', '.join(siblings)}"
    else:
        hint = _hint(key, [name for name in Scenario.model_fields if name not in _TOP])
    return f"{key} = {_shown(value)}: not a setting{hint}"


def _checked(values: dict[str, Any]) -> Scenario:
    try:
        return Scenario.model_validate(values)
    except ValidationError as failure:
        errors = failure.errors()
    lines = [_line(error) for error in errors if not _is_missing(error)]
    if missing := [".".join(map(str, error["loc"])) for error in errors if _is_missing(error)]:
        lines.append(f'{", ".join(missing)}: missing: add it, or start from another scenario, such as extends = "{names()[-1]}"')
    raise InputError(" ".join("; ".join(dict.fromkeys(lines)).split()))


def _is_missing(error: Any) -> bool:
    """Whether a section or a setting is missing, rather than the second number of a range."""
    return error["type"] == "missing" and len(error["loc"]) <= 2


def _line(error: Any) -> str:
    """One pydantic error as `key = value: what is allowed`."""
    kind, place = error["type"], error["loc"]
    key = ".".join(str(part) for part in place[:2])
    given = f"{key} = {_shown(error['input'])}"
    if kind == "extra_forbidden":
        return _unknown(key, error["input"])
    if key == "servers.count":
        return f'{given}: must be a whole number from 1, or "all"'
    if kind == "value_error":
        message = str(error["ctx"]["error"])
        return message if " = " in message.split(":")[0] else f"{given}: {message}"
    if (key, kind) in {("users.count", "greater_than_equal"), ("sites.count", "greater_than_equal")}:
        return f"{given}: a network needs at least 1 {place[0][:-1]}"
    if kind in ("tuple_type", "too_long", "missing"):
        return f"{given}: must be two numbers, [low, high]" if place[0] != "notes" else f"{given}: must be a list of lines"
    if kind == "model_type":
        return f"{given}: must be a section, [{key}]"
    message = error["msg"].replace("Input should be", "must be").replace("valid integer", "whole number")
    return f"{given}: {message[0].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
