"""The cache of answers: shared, bounded, and never trusted without a look."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import tempfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archipelago.survey.cache as cache_module
from archipelago.survey.cache import SUFFIX, Cache
from archipelago.survey.services import CacheSettings

LARGE = 10**12


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; what other jobs add is seen at once."""
    monkeypatch.setattr(cache_module, "REFRESH_S", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def make(folder: Path) -> Callable[..., Cache]:
    """Open one more cache in the folder, as a new job does."""
    return lambda max_bytes=LARGE: Cache(folder, max_bytes)


def packs(folder: Path) -> list[Path]:
    return sorted(folder.rglob(f"*{SUFFIX}"))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in packs(folder))


def test_from_settings(folder: Path) -> None:
    assert Cache.from_settings(CacheSettings()) is None
    cache = Cache.from_settings(CacheSettings(str(folder), 0.5))
    assert cache is not None and cache.folder == folder
    assert cache.get("tap", "a") is None
    assert not folder.exists()  # nothing is made before something is put


def test_what_is_put_is_there_in_this_job_and_the_next(make: Callable[..., Cache]) -> None:
    cache = make()
    cache.put("tap/ab", "one", b"first")
    cache.put("tap/ab", "two", b"")
    assert (cache.get("tap/ab", "one"), cache.get("tap/ab", "two")) == (b"first", b"")
    assert cache.get("tap/ab", "three") is None
    assert cache.get("sia/7", "one") is None
    cache.close()
    cache.put("tap/ab", "three", b"third")
    cache.close()
    other = make()
    bodies = [other.get("tap/ab", key) for key in ("one", "two", "three")]
    assert bodies == [b"first", b"", b"third"]


def test_the_last_put_counts(make: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([100.0, 300.0, 200.0])
    monkeypatch.setattr(cache_module.time, "time", lambda: next(seconds))
    for body in (b"old", b"new", b"between"):
        cache = make()
        cache.put("tap", "key", body)
        cache.close()
    assert make().get("tap", "key") == b"new"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "sia/1"]), st.text(), st.binary(max_size=300)), max_size=20
    )
)
def test_any_bytes_under_any_key(items: list[tuple[str, str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wanted: dict[tuple[str, str], bytes] = {}
        cache = Cache(folder, LARGE)
        for group, key, body in items:
            cache.put(group, key, body)
            wanted[group, key] = body
            assert cache.get(group, key) == body
        cache.close()
        other = Cache(folder, LARGE)
        for (group, key), body in wanted.items():
            assert other.get(group, key) == body
        other.close()


@pytest.mark.parametrize("group", ["", "/a", "a/", "../a", "a/../b", "a//b", "ä", ".hidden"])
def test_groups_stay_in_the_folder(make: Callable[..., Cache], group: str) -> None:
    with pytest.raises(ValueError, match="not a name of a group"):
        make().put(group, "key", b"")


def test_the_same_content_is_written_once(make: Callable[..., Cache], folder: Path) -> None:
    body = os.urandom(10_000)
    first, second = make(), make()
    first.put("sia/1", "one", body)
    first.put("sia/1", "two", body)
    second.put("sia/1", "three", body)
    assert size(folder) < 1.1 * len(body)
    assert all(make().get("sia/1", key) == body for key in ("one", "two", "three"))


def test_a_second_job_sees_what_the_first_adds(make: Callable[..., Cache]) -> None:
    first, second = make(), make()
    assert second.get("sia/1", "one") is None
    for key in ("one", "two", "three"):
        first.put("sia/1", key, key.encode())
        assert second.get("sia/1", key) == key.encode()


def test_the_folder_is_looked_at_only_now_and_then(
    make: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "REFRESH_S", 1e6)
    first, second = make(), make()
    assert second.get("sia/1", "one") is None
    first.put("sia/1", "one", b"1")
    assert second.get("sia/1", "one") is None


def test_threads_share_one_cache(make: Callable[..., Cache]) -> None:
    cache = make()
    errors: list[str] = []

    def work(number: int) -> None:
        for i in range(100):
            key, body = f"{number} {i}", f"{number} {i} ".encode() * 50
            cache.put(f"sia/{i % 3}", key, body)
            if cache.get(f"sia/{i % 3}", key) != body:
                errors.append(key)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    other = make()
    assert all(
        other.get(f"sia/{i % 3}", f"{n} {i}") == f"{n} {i} ".encode() * 50
        for n in range(8)
        for i in range(100)
    )


def _write_many(folder: Path, number: int, ready: threading.Barrier) -> None:
    cache = Cache(folder, LARGE)
    ready.wait(30)
    for i in range(200):
        cache.put("sia/1", f"shared {i}", f"content {i}".encode() * 20)
        cache.put("sia/1", f"{number} {i}", f"{number} {i}".encode() * 20)
    cache.close()


def test_processes_write_at_once(make: Callable[..., Cache], folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(3)
    jobs = [context.Process(target=_write_many, args=(folder, n, ready)) for n in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(30)
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    cache = make()
    for i in range(200):
        assert cache.get("sia/1", f"shared {i}") == f"content {i}".encode() * 20
        for n in range(3):
            assert cache.get("sia/1", f"{n} {i}") == f"{n} {i}".encode() * 20
    assert len(packs(folder)) == 3


def test_what_a_killed_writer_left_is_passed_over(
    make: Callable[..., Cache], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make()
    cache.put("tap", "whole", b"w" * 1000)
    end = size(folder)
    cache.put("tap", "cut", b"c" * 1000)
    cache.close()
    (pack,) = packs(folder)
    content = pack.read_bytes()
    for length in (end + 10, end + 200, len(content) - 1):
        pack.write_bytes(content[:length])
        after = make()
        assert after.get("tap", "whole") == b"w" * 1000
        assert after.get("tap", "cut") is None
        after.put("tap", "cut", b"anew")
        assert after.get("tap", "cut") == b"anew"
        after.close()
        for new in packs(folder):
            if new != pack:
                new.unlink()
    assert caplog.records == []


@pytest.mark.parametrize("where", [0, 60, 150, -1])
def test_a_damaged_record_counts_as_absent_and_is_put_anew(
    make: Callable[..., Cache], folder: Path, caplog: pytest.LogCaptureFixture, where: int
) -> None:
    cache = make()
    cache.put("tap", "key", b"right" * 100)
    cache.close()
    (pack,) = packs(folder)
    content = bytearray(pack.read_bytes())
    content[where] ^= 1
    pack.write_bytes(content)
    second = make()
    assert second.get("tap", "key") is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "damaged" in caplog.text and str(pack) in caplog.text
    second.put("tap", "key", b"right" * 100)
    assert second.get("tap", "key") == b"right" * 100
    second.close()
    assert make().get("tap", "key") == b"right" * 100


def test_a_pack_removed_by_hand_is_a_miss(make: Callable[..., Cache], folder: Path) -> None:
    first = make()
    first.put("tap", "key", b"1")
    first.close()
    second = make()
    second._group("tap")
    for pack in packs(folder):
        pack.unlink()
    assert second.get("tap", "key") is None
    second.put("tap", "key", b"1")
    assert second.get("tap", "key") == b"1"


def test_the_bound_is_kept_by_what_is_longest_unused(
    make: Callable[..., Cache], folder: Path
) -> None:
    for number in range(5):
        job = make(100_000)
        job.put("sia/1", f"{number}", os.urandom(18_000))
        job.close()
    old = packs(folder)
    assert len(old) == 5
    for number, pack in enumerate(old):
        os.utime(pack, (1000 + number, 1000 + number))
    keys = {}
    for pack in old:
        keys[pack] = next(k for k in "01234" if cache_has(pack, k))
    job = make(100_000)
    assert job.get("sia/1", keys[old[0]]) is not None  # used: the newest now
    job.put("sia/2", "x", os.urandom(40_000))
    assert size(folder) <= 100_000
    left = packs(folder)
    assert old[0] in left and old[4] in left
    assert old[1] not in left and old[2] not in left
    assert job.get("sia/1", keys[old[1]]) is None


def cache_has(pack: Path, key: str) -> bool:
    return cache_module.hashlib.sha256(key.encode()).digest() in pack.read_bytes()


def test_the_bound_holds_for_one_job_and_for_many(
    make: Callable[..., Cache], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make(50_000)
    for number in range(30):
        job.put("sia/1", f"{number}", os.urandom(5000))
    assert 40_000 < size(folder) <= 50_000
    assert job.get("sia/1", "0") is not None  # one's own are not removed
    assert len(caplog.records) == 1 and "this job alone has filled" in caplog.text
    for _ in range(5):
        other = make(50_000)
        for number in range(5):
            other.put("sia/2", f"{number}", os.urandom(4000))
            assert size(folder) <= 50_000
        other.close()


def test_a_full_disk_stops_the_writing_only(
    make: Callable[..., Cache],
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = make()
    cache.put("tap", "before", b"b" * 1000)
    before = size(folder)

    def full(handle: int, parts: list[bytes]) -> int:
        os.write(handle, parts[0] + parts[1][:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module.os, "writev", full)
    cache.put("tap", "one", b"1" * 1000)
    cache.put("tap", "two", b"2" * 1000)
    assert size(folder) == before  # no half of a record
    assert cache.get("tap", "one") is None
    assert cache.get("tap", "before") == b"b" * 1000
    assert len(caplog.records) == 1 and "No space left" in caplog.text


def test_a_disk_that_takes_a_part_at_a_time(
    make: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    for first in (3, 150):
        monkeypatch.setattr(
            cache_module.os, "writev", lambda h, parts, n=first: write(h, b"".join(parts)[:n])
        )
        monkeypatch.setattr(cache_module.os, "write", lambda h, data: write(h, data[:70]))
        cache = make()
        cache.put("tap", f"{first}", b"abc" * 99)
        cache.close()
        monkeypatch.undo()
        assert make().get("tap", f"{first}") == b"abc" * 99


def test_a_folder_that_cannot_be_written(
    folder: Path, make: Callable[..., Cache], caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file is in the way")
    cache = make()
    assert cache.get("tap", "key") is None
    cache.put("tap", "key", b"1")
    cache.put("tap", "key", b"1")
    assert cache.get("tap", "key") is None
    assert len(caplog.records) == 1 and "goes on without" in caplog.text


def test_memory_of_many_records_is_small(make: Callable[..., Cache]) -> None:
    cache = make()
    for number in range(5_000):
        cache.put(f"sia/{number % 16}", f"{number}", b"%d" % number)
    cache.close()
    tracemalloc.start()
    other = make()
    for group in range(16):
        assert other.get(f"sia/{group}", f"{group}") == b"%d" % group
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / 5_000 < 150  # bytes per record


def test_many_groups_need_few_open_files(make: Callable[..., Cache]) -> None:
    cache = make()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(200):
        cache.put(f"sia/{number}", "key", b"%d" % number)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 64
    assert all(cache.get(f"sia/{n}", "key") == b"%d" % n for n in range(200))
    cache.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_nothing_is_logged_where_nothing_is_wrong(
    make: Callable[..., Cache], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        cache = make()
        cache.put("tap", "key", b"1")
        cache.close()
    assert caplog.records == []
