"""Command line of the embedded survey: ``python -m archipelago.demosky``."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import yaml

from archipelago.base.errors import ArchipelagoError
from archipelago.base.files import write_text
from archipelago.demosky import faults
from archipelago.demosky.faults import FaultPlan
from archipelago.demosky.server import DemoServer
from archipelago.demosky.sky import build_sky, truth_table

_ABOUT = """\
The embedded survey: a synthetic sky of one seed, and a server on loopback that speaks
what the real services speak (TAP, X-Match, SIA v1, cutouts, TAPVizieR).

  truth   print, or write, what is true of every catalogued object
  serve   serve the sky until Ctrl-C
  run     serve the sky while a command runs, and tell it where

Examples:
  python -m archipelago.demosky truth --seed 1 --out truth.csv
  python -m archipelago.demosky serve --seed 1 --port 8642
  python -m archipelago.demosky run --seed 1 --endpoints endpoints.yaml -- \\
      snakemake --cores 2 --configfile data/presets/demo.yaml endpoints.yaml
"""


def write_if_changed(path: Path, text: str) -> bool:
    """Write ``text`` unless the file holds just that already; says whether it wrote."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return False
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    write_text(path, text)
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.demosky",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    truth = commands.add_parser("truth", help="print or write the truth table (CSV)")
    truth.add_argument("--seed", type=int, required=True, help="seed of the sky")
    truth.add_argument(
        "--out", type=Path, help="file to write, only if it would change (default: print)"
    )

    serving = argparse.ArgumentParser(add_help=False)
    serving.add_argument("--seed", type=int, required=True, help="seed of the sky")
    serving.add_argument(
        "--port", type=int, default=0, help="port on loopback; 0 (the default) takes any free one"
    )
    serving.add_argument(
        "--faults", type=Path, metavar="FILE", help="faults to commit, YAML or JSON; see below"
    )
    about_faults = (faults.__doc__ or "") + "\nKinds of fault:\n"
    about_faults += "".join(f"  {kind:<14}{seen}\n" for kind, seen in faults.KINDS.items())
    commands.add_parser(
        "serve",
        parents=[serving],
        help="serve the sky until Ctrl-C",
        epilog=about_faults,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run = commands.add_parser(
        "run",
        parents=[serving],
        help="serve the sky while a command runs",
        usage="%(prog)s --seed N --endpoints FILE [--port P] [--faults FILE] -- COMMAND ...",
        description="Serve the sky, write the addresses of its services into a configuration "
        "file, run COMMAND, and end with its exit code.",
        epilog=about_faults,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument(
        "--endpoints",
        type=Path,
        required=True,
        metavar="FILE",
        help="YAML to write, only if it would change: the section `services` with the URLs",
    )
    run.add_argument("run", nargs="+", metavar="COMMAND", help="the command, after --")
    return parser


def _truth(seed: int, out: Path | None) -> int:
    text = truth_table(build_sky(seed)).to_csv(index=False)
    if out is None:
        sys.stdout.write(text)
    else:
        changed = write_if_changed(out, text)
        print(f"{out}: {'written' if changed else 'unchanged'}", file=sys.stderr)
    return 0


def _server(seed: int, port: int, plan: Path | None) -> DemoServer:
    if not 0 <= port <= 65535:
        raise ArchipelagoError(
            f"port {port} is not in 0 to 65535", next_step="choose another with --port"
        )
    return DemoServer(build_sky(seed), port, FaultPlan.from_file(plan) if plan else None)


def _serve(seed: int, port: int, plan: Path | None) -> int:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with _server(seed, port, plan) as server:
        print(f"serving the sky of seed {seed} at {server.url}; Ctrl-C ends", flush=True)
        print(yaml.safe_dump({"services": server.services()}), flush=True)
        try:
            ended.wait()
        except KeyboardInterrupt:
            print("ended", file=sys.stderr)
    return 0


def _run(seed: int, port: int, plan: Path | None, endpoints: Path, command: Sequence[str]) -> int:
    with _server(seed, port, plan) as server:
        overlay = yaml.safe_dump({"services": server.services()}, sort_keys=True)
        about = f"# Addresses of the embedded survey; written by the command `{_RUN}`.\n"
        write_if_changed(endpoints, about + overlay)
        try:
            child = subprocess.Popen(list(command))
        except OSError as error:
            raise ArchipelagoError(
                f"the command cannot be run: {error}",
                where=" ".join(command),
                next_step="give it after --, as in `run ... -- snakemake --cores 2`",
            ) from error
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        while True:
            try:
                code = child.wait()
                break
            except KeyboardInterrupt:
                # The terminal sends Ctrl-C to the command too: let it end as it likes.
                continue
    return code if code >= 0 else 128 - code


_RUN = "python -m archipelago.demosky run"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "truth":
            return _truth(options.seed, options.out)
        if options.command == "serve":
            return _serve(options.seed, options.port, options.faults)
        return _run(options.seed, options.port, options.faults, options.endpoints, options.run)
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
