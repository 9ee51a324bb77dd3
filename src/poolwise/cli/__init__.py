"""The command line: ``poolwise``, or ``python -m poolwise``.

Exit codes: 0 done; 1 failed (a file, a missing package, memory); 2 bad arguments or values; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from . import arguments, explain, image, info, inspect, measure, study
from .output import CommandError, one_line

__all__ = ["main"]

DESCRIPTION = """\
Pooling operators: pool a picture, ask what a pooling call would do, see it all at work.

exit codes: 0 done, 1 failed, 2 bad arguments or values, 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("poolwise").strip()
        self.exit(2, f"poolwise: {command + ': ' if command else ''}{one_line(message)} (see {self.prog} --help)\n")


def _version() -> str:
    from .. import __version__

    return f"poolwise {__version__}"


def build_parser() -> argparse.ArgumentParser:
    """The parser; every command sets `run`, which returns an exit code."""
    parser = Parser("poolwise", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    image.add_command(commands)
    explain.add_command(commands)
    inspect.add_command(commands)
    info.add_commands(commands)
    measure.add_command(commands)
    arguments.add_demo_command(commands)
    arguments.add_bench_command(commands)
    study.add_command(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        args = build_parser().parse_args(argv)
        code = args.run(args)
        sys.stdout.flush()  # a broken pipe shows here, not at exit where nobody can catch it
        return code
    except SystemExit as stop:  # argparse's, after --help, --version or an error that it has printed
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except CommandError as failure:
        return _complain(failure, failure.code)
    except (ValueError, TypeError) as error:
        return _complain(error, 2)
    except MemoryError as error:
        return _complain(f"not enough memory{f': {error}' if str(error) else ''}", 1)
    except OSError as error:
        return _complain(error, 1)


def _complain(error: object, code: int) -> int:
    print(f"poolwise: {one_line(str(error))}", file=sys.stderr)
    return code
