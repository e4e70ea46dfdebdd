"""A SLURM cluster on this machine: two ordinary nodes, one with a pretended GPU, all real daemons.

The configuration is the pattern that lies beside the checkout; a transfer partition is added.
Nothing of another SLURM installation is touched: where one is configured, there is no cluster.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

#: Where every program of SLURM looks; jobs lose SLURM_CONF on their way.
CONFIGURED = Path("/etc/slurm")
NODES = ("c1", "c2", "g1")
#: A partition whose node stands for one that reaches the internet.
TRANSFER = "PartitionName=transfer Nodes=c2 Default=NO MaxTime=60 State=UP OverSubscribe=NO\n"
#: Settings of the pattern that are changed: a dead node is noticed soon [s], and what ended
#: is remembered until the tests end [s].
SETTINGS = {"SlurmdTimeout": 6, "MinJobAge": 3600}
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol", "scancel")
_PREFIX = "archipelago-slurm-"
_MUNGE_SOCKET = Path("/run/munge/munge.socket.2")

_Found = TypeVar("_Found")


def wait_for(what: str, look: Callable[[], _Found], deadline_s: float = 60.0) -> _Found:
    """Look again and again until there is something; fail after ``deadline_s``."""
    end = time.monotonic() + deadline_s
    while not (found := look()):
        assert time.monotonic() < end, f"{what}: not within {deadline_s:g} s"
        time.sleep(0.1)
    return found


def why_not(pattern: Path) -> str | None:
    """Return why no cluster can be started here, or None."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"SLURM is not installed: no {', '.join(missing)}"
    if not (pattern / "slurm.conf").is_file():
        return f"no pattern of a SLURM configuration at {pattern}"
    if os.geteuid() != 0:
        return "the daemons of SLURM need root"
    _forget_dead_cluster()
    if (CONFIGURED / "slurm.conf").exists() or (CONFIGURED / "slurm.conf").is_symlink():
        return f"another SLURM is configured in {CONFIGURED}"
    return None


def _forget_dead_cluster() -> None:
    """Remove the links of a cluster of ours whose tests were killed, if nothing of it lives."""
    links = [CONFIGURED / name for name in ("slurm.conf", "gres.conf")]
    ours = [link for link in links if link.is_symlink() and _PREFIX in str(link.readlink())]
    for state in {link.readlink().parent for link in ours}:
        pids = (int(file.read_text().strip() or 0) for file in (state / "run").glob("*.pid"))
        if any(pid and _alive(pid) for pid in pids):
            return
    for link in ours:
        link.unlink()


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Job:
    """One job as SLURM knows it."""

    number: int
    state: str
    rule: str
    partition: str
    node: str
    restarts: int
    folder: str


class Cluster:
    """The daemons, and what tests do to them; a context manager.

    Parameters
    ----------
    pattern : folder with slurm.conf and gres.conf, in which ``@STATE@`` is replaced.
    """

    def __init__(self, pattern: Path) -> None:
        self.pattern = pattern
        self._own_munge: int | None = None

    # ------------------------------------------------------------------------------- life

    def __enter__(self) -> Cluster:
        self.state = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self.state.chmod(0o755)
        slurm = pwd.getpwnam("slurm")
        for name in ("state", "log", "run", "spool", *(f"spool/{node}" for node in NODES)):
            (self.state / name).mkdir()
            os.chown(self.state / name, slurm.pw_uid, slurm.pw_gid)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        text = (self.pattern / "slurm.conf").read_text().replace("@STATE@", str(self.state))
        for key, value in SETTINGS.items():
            text, found = re.subn(rf"^{key}=.*$", f"{key}={value}", text, flags=re.MULTILINE)
            assert found == 1, f"the pattern of the configuration sets {key} {found} times"
        (self.state / "slurm.conf").write_text(text.rstrip("\n") + "\n" + TRANSFER)
        shutil.copy(self.pattern / "gres.conf", self.state / "gres.conf")
        CONFIGURED.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            (CONFIGURED / name).symlink_to(self.state / name)
        self._start_munge()
        self._daemon("slurmctld")
        wait_for("slurmctld answers", lambda: self._ask("scontrol", "ping").returncode == 0)
        for node in NODES:
            self.start_node(node)
        wait_for("all nodes are idle", lambda: set(self.nodes().values()) == {"idle"})

    def _start_munge(self) -> None:
        if (
            _MUNGE_SOCKET.exists()
            and subprocess.run(["munge", "-n"], capture_output=True).returncode == 0
        ):
            return  # one runs already
        munge = pwd.getpwnam("munge")
        _MUNGE_SOCKET.parent.mkdir(exist_ok=True)
        os.chown(_MUNGE_SOCKET.parent, munge.pw_uid, munge.pw_gid)
        _MUNGE_SOCKET.parent.chmod(0o755)
        pid_file = self.state / "munged.pid"
        subprocess.run(
            ["munged", "--force", f"--pid-file={_MUNGE_SOCKET.parent}/munged.pid"],
            user="munge", group="munge", extra_groups=[], check=True, env={"PATH": _path()},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for("munge answers", _MUNGE_SOCKET.exists)
        self._own_munge = int((_MUNGE_SOCKET.parent / "munged.pid").read_text())
        pid_file.write_text(str(self._own_munge))

    def __exit__(self, *_: object) -> None:
        if self._pid("slurmctld"):
            self.cancel_all()
        for name in (*(f"slurmd-{node}" for node in NODES), "slurmctld"):
            self._stop(self._pid(name))
        self._stop(self._own_munge)
        for name in ("slurm.conf", "gres.conf"):
            link = CONFIGURED / name
            if link.is_symlink() and link.readlink() == self.state / name:
                link.unlink()
        shutil.rmtree(self.state, ignore_errors=True)

    def _daemon(self, *command: str) -> None:
        subprocess.run(
            command, check=True, env={"PATH": _path()}, cwd=self.state, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _pid(self, name: str) -> int | None:
        file = self.state / "run" / f"{name}.pid"
        return int(file.read_text()) if file.is_file() and file.read_text().strip() else None

    def _stop(self, pid: int | None) -> None:
        if pid is None or not _alive(pid):
            return
        os.kill(pid, signal.SIGTERM)
        try:
            wait_for("a daemon ends", lambda: not _alive(pid), 15.0)
        except AssertionError:
            os.kill(pid, signal.SIGKILL)

    # ---------------------------------------------------------------------------- the nodes

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._daemon("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill a node as a power cut does: the daemon and all jobs there, at once."""
        victims = [pid for pid in (self._pid(f"slurmd-{node}"),) if pid]
        family = _processes()
        for job in self.jobs("RUNNING"):
            if job.node == node:
                steps = [
                    pid for pid, (_, title) in family.items()
                    if title.startswith(f"slurmstepd: [{job.number}.")
                ]  # fmt: skip
                victims += [one for step in steps for one in (step, *_descendants(step, family))]
        for pid in victims:
            _kill(pid)

    def nodes(self) -> dict[str, str]:
        """State of each node."""
        done = self._ask("sinfo", "--noheader", "--Node", "--format=%N %T")
        return dict(line.split() for line in done.stdout.splitlines())

    # ----------------------------------------------------------------------------- the jobs

    def jobs(self, *states: str) -> list[Job]:
        """All jobs that SLURM remembers, or those in given states."""
        form = "JobID:|,State:|,Comment:200|,Partition:|,NodeList:|,RestartCnt:|,WorkDir:400"
        done = self._ask("squeue", "--noheader", "--states=all", f"--Format={form}")
        found = []
        for line in done.stdout.splitlines():
            number, state, rule, partition, node, restarts, folder = (
                part.strip() for part in line.split("|")
            )
            rule = rule.removeprefix("rule_").replace("_wildcards_", " ")
            found.append(Job(int(number), state, rule, partition, node, int(restarts or 0), folder))
        return [job for job in found if not states or job.state in states]

    def cancel(self, job: Job) -> None:
        """Cancel a job, as a user does."""
        assert self._ask("scancel", str(job.number)).returncode == 0

    def cancel_all(self) -> None:
        """Cancel all jobs and wait until they are gone."""
        self._ask("scancel", "--user=root")
        wait_for("all jobs end", lambda: not self.jobs("PENDING", "RUNNING", "COMPLETING"))

    def describe(self, job: Job) -> Mapping[str, str]:
        """Return what `scontrol show job` says."""
        text = self._ask("scontrol", "--oneliner", "show", "job", str(job.number)).stdout
        return dict(part.split("=", 1) for part in text.split() if "=" in part)

    def _ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={"PATH": _path()}
        )


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself, or with its parent


def _processes() -> dict[int, tuple[int, str]]:
    """Parent and title of every process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended
        found[int(folder.name)] = (parent, title)
    return found


def _descendants(pid: int, family: Mapping[int, tuple[int, str]]) -> list[int]:
    children = [one for one, (parent, _) in family.items() if parent == pid]
    return [one for child in children for one in (child, *_descendants(child, family))]
