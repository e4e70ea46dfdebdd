"""What rules ask for, held against what was measured of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipelago.measure.injection_cases import RULES as INJECTION_RULES
from archipelago.measure.resources import TABLE, TIMES, Measured, read_measured
from archipelago.needs import LEAST_MB, NEEDS, STEP_MB

REPOSITORY = Path(__file__).resolve().parents[2]
MEASURED = read_measured(TABLE)
#: A request is at least so many times what was measured, and at most so much.
LEAST_MEMORY, LEAST_TIME = 1.15, 2.0
MOST_MEMORY, MOST_MEMORY_MB = 4.0, 1000.0

sizes_mb = st.floats(min_value=0.0, max_value=1e6)
attempts = st.integers(min_value=1, max_value=4)
rules = st.sampled_from(sorted(NEEDS))


def rules_of_the_workflow() -> set[str]:
    """Names of all rules that have a script."""
    found: set[str] = set()
    for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"):
        found |= set(re.findall(r"^rule (\w+):", path.read_text(), flags=re.MULTILINE))
    return found


def requests_of_the_workflow() -> dict[str, list[str]]:
    """The names that each rule's memory and time are asked by."""
    found = {}
    for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"):
        for text in re.split(r"(?m)^rule ", path.read_text())[1:]:
            asked = re.findall(r'(?:mem_mb=memory_mb|runtime=minutes)\(\s*"(\w+)"', text)
            found[text.split(":")[0]] = asked
    return found


def name(row: Measured) -> str:
    return f"{row.rule}-{row.n_objects}-{row.source}"


@pytest.mark.parametrize("row", MEASURED, ids=name)
def test_a_request_covers_what_was_measured(row: Measured) -> None:
    needs = NEEDS[row.rule]
    # What was measured is the script's: Snakemake's own memory comes on top.
    memory_mb = needs.memory_mb(row.input_mb) - STEP_MB
    assert memory_mb >= LEAST_MEMORY * row.max_rss_mb
    assert memory_mb <= MOST_MEMORY * row.max_rss_mb + MOST_MEMORY_MB
    limit_s = 60.0 * needs.minutes(row.input_mb, work=row.work)
    assert limit_s >= LEAST_TIME * max(row.seconds, row.cpu_seconds / row.threads)


def test_every_rule_has_its_needs_and_was_measured() -> None:
    assert set(NEEDS) == rules_of_the_workflow()
    assert {row.rule for row in MEASURED} == set(NEEDS)


def test_every_rule_can_be_measured_again() -> None:
    assert {*TIMES, *INJECTION_RULES, "known_quasars"} == set(NEEDS)
    assert {row.rule for row in MEASURED if row.source == "script"} >= {*TIMES, *INJECTION_RULES}


def test_every_rule_asks_for_its_own_needs() -> None:
    assert requests_of_the_workflow() == {rule: [rule, rule] for rule in rules_of_the_workflow()}


def test_rules_that_grow_were_measured_at_two_sizes_a_factor_of_four_apart() -> None:
    for rule, needs in NEEDS.items():
        sizes = {row.n_objects for row in MEASURED if row.rule == rule and row.n_objects}
        if needs.per_input_mb and rule not in ("match", "posteriors", "published_fit"):
            assert max(sizes) >= 4 * min(sizes), rule


@given(rules, sizes_mb, sizes_mb, attempts)
def test_more_input_never_asks_for_less(rule: str, one: float, other: float, attempt: int) -> None:
    needs, small, large = NEEDS[rule], min(one, other), max(one, other)
    assert needs.memory_mb(small, attempt) <= needs.memory_mb(large, attempt)
    assert needs.minutes(small, attempt) <= needs.minutes(large, attempt)


@given(rules, sizes_mb, attempts)
def test_each_attempt_asks_for_more(rule: str, size_mb: float, attempt: int) -> None:
    needs = NEEDS[rule]
    assert needs.memory_mb(size_mb, attempt + 1) > needs.memory_mb(size_mb, attempt)
    assert needs.minutes(size_mb, attempt + 1) > needs.minutes(size_mb, attempt)


@given(rules, sizes_mb, st.integers(min_value=1, max_value=1000))
def test_more_work_never_asks_for_less_time(rule: str, size_mb: float, work: int) -> None:
    needs = NEEDS[rule]
    assert needs.minutes(size_mb, work=work + 1) >= needs.minutes(size_mb, work=work)


@pytest.mark.parametrize("rule", sorted(NEEDS))
def test_nothing_asks_for_less_than_snakemake_itself_takes(rule: str) -> None:
    assert NEEDS[rule].memory_mb(0.0) >= LEAST_MB
    assert NEEDS[rule].minutes(0.0) >= 1


def test_the_cutouts_wait_for_a_slow_service() -> None:
    """7,000 objects in one tile: 49,000 requests of 2.8 s, eight at a time."""
    waiting_minutes = 49_000 * 2.8 / 8 / 60
    # Of such a table 370 bytes an object.
    assert NEEDS["cutouts"].minutes(7_000 * 370 / 2**20) >= 2 * waiting_minutes


def test_no_script_imports_the_requests() -> None:
    """A request changes no result: no stage re-runs for it."""
    from archipelago.provenance import imported_modules

    for script in (REPOSITORY / "workflow" / "scripts").glob("*.py"):
        assert "archipelago.needs" not in imported_modules(script), script.name
