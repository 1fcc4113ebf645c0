"""`dime-hf`: the stages as commands of a shell, a thin layer over the library.

A command is a module of this package: `add_arguments(parser)` says what it takes, `run(given)` holds its steps. What
they need is imported by the steps alone, so that `--help` is fast.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import dime_hf
from dime_hf.cli.options import parse
from dime_hf.errors import DimeError, HubError, LicenceError, did_you_mean

COMMANDS = {
    "demo": "the whole pipeline on a toy corpus, or on yours, up to a report",
    "prepare": "load a corpus with every human vote, say what is in it, save it",
    "check": "compare a corpus with the published counts",
    "annotate": "ask an audio LM about every utterance",
    "pool": "human and synthetic votes: are the proxies any good, and one soft label of both",
    "augment": "DiME-Aug: plan new utterances of rare emotions, and make them",
    "train": "train a speech encoder on soft labels, or tune an audio LM",
    "score": "score labels and predictions against held-out human votes",
    "report": "one page of what the other commands left",
    "push": "share on the Hub: ids and soft labels, unless more is named",
}
DONE, NO, WRONG, BUG, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 70, 130, 141
EXIT_CODES = """\
exit codes: 0 done; 1 the answer is no (`check` found other counts, a licence or the Hub refuses); 2 wrong options or
input, told in one line (the whole traceback with --traceback, or DIME_HF_TRACEBACK=1); 70 a bug; 130 interrupted"""
TRACEBACK = "DIME_HF_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `dime-hf` with these arguments (default: those of the process), and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _run(arguments)
        sys.stdout.flush()
    except SystemExit as end:
        return _code(end)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read what is printed has seen enough, as `head` does
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (DimeError, OSError) as error:
        if "--traceback" in arguments or os.environ.get(TRACEBACK, "0") not in ("", "0"):
            traceback.print_exc()
        else:
            told = " ".join(str(error).split())
            print(f"dime-hf {arguments[0]}: {type(error).__name__}: {told}", file=sys.stderr)
        return NO if isinstance(error, HubError | LicenceError) else WRONG
    except Exception:
        traceback.print_exc()
        return BUG
    return DONE


def _run(arguments: list[str]) -> None:
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command not in COMMANDS:
        parser.error(f"there is no command {given.command!r}.{did_you_mean(given.command, COMMANDS)}")
    command: Any = importlib.import_module(f"dime_hf.cli.{given.command}")
    own = argparse.ArgumentParser(
        prog=f"dime-hf {given.command}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(own)
    options = parse(own, given.options)
    if options is not None:
        command.run(options)


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<10}{about}" for name, about in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="dime-hf",
        usage="dime-hf COMMAND [options]        dime-hf COMMAND --help",
        description=f"Soft labels for speech emotion, from votes to a report.\n\ncommands:\n{listed}",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"dime_hf {dime_hf.__version__}")
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("options", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _code(end: SystemExit) -> int:
    if isinstance(end.code, str):
        print(end.code, file=sys.stderr)
        return WRONG
    return int(end.code or 0)
