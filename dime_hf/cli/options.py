"""Options of a command: from a configuration file, and above it from the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dime_hf.errors import did_you_mean

OWN = ("help", "config", "print_config", "traceback")  # not of a command, and not in a file


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace | None:
    """Return the options, or None where they were to be printed alone; what is wrong ends the process with 2."""
    of_all = parser.add_argument_group("of every command")
    of_all.add_argument("--config", type=Path, metavar="FILE", help="YAML or JSON: options by their long names")
    of_all.add_argument("--print_config", action="store_true", help="print all options as such a file, and stop")
    of_all.add_argument("--traceback", action="store_true", help="show where an error came from")
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, usage=parser.format_usage())
    early.add_argument("--config", type=Path)
    config = early.parse_known_args(arguments)[0].config
    if config is not None:
        _take(parser, config)
    given = parser.parse_args(arguments)
    if given.print_config:
        print(as_yaml(parser, given), end="")
        return None
    return given


def as_yaml(parser: argparse.ArgumentParser, given: argparse.Namespace) -> str:
    """All options of a command as a file for `--config`."""
    import yaml

    def plain(value: Any) -> Any:
        return [plain(one) for one in value] if isinstance(value, list) else _readable(value)

    options = {name: plain(getattr(given, name)) for name in _actions(parser)}
    return yaml.safe_dump(options, sort_keys=False, allow_unicode=True)


def _readable(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {action.dest: action for action in parser._actions if action.dest not in OWN}


def _take(parser: argparse.ArgumentParser, path: Path) -> None:
    """Make what a file says the defaults of `parser`."""
    actions = _actions(parser)
    for name, value in _read(parser, path).items():
        if name not in actions:
            parser.error(f"{path}: there is no option {name!r}.{did_you_mean(str(name), actions)}")
        if value is None:
            continue
        action = actions[name]
        try:
            action.default = _value(action, value)
        except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
            parser.error(f"{path}: {name}: {error}")
        action.required = False
        if not action.option_strings and action.nargs is None:
            action.nargs = "?"


def _read(parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        read = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        parser.error(f"--config {path} cannot be read: {' '.join(str(error).split())}")
    if read is None:
        return {}
    if not isinstance(read, dict):
        parser.error(f"--config {path} must hold options by name, not a {type(read).__name__}")
    return read


def _value(action: argparse.Action, value: Any) -> Any:
    """A value of a file as the command line would give it."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {value!r}")
        return value
    several = action.nargs in ("+", "*")
    if isinstance(value, dict | bool) or isinstance(value, list) != several:
        raise ValueError(f"must be {'a list' if several else 'one value'}, not {value!r}")
    made = [_one(action, item) for item in (value if several else [value])]
    return made if several else made[0]


def _one(action: argparse.Action, item: Any) -> Any:
    convert: Any = action.type or str
    made = convert(str(item))
    if action.choices is not None and made not in action.choices:
        raise ValueError(f"{item!r} is no choice.{did_you_mean(str(item), map(str, action.choices))}")
    return made
