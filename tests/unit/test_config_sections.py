"""Limits of single keys: the configuration's schema is the one place that has them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from helpers.configuration import PAPER, REPOSITORY, shipped_config

from archipelago.base.errors import ConfigError
from archipelago.config.search import Search
from archipelago.learning.settings import LearningSettings


def test_the_code_s_defaults_are_those_of_the_configuration() -> None:
    assert LearningSettings.from_mapping(shipped_config().learning.plain()) == LearningSettings()


def test_the_paper_s_choices() -> None:
    assert (PAPER.optimiser, PAPER.learning_rate, PAPER.momentum) == ("sgd", 3e-4, 1e-5)
    assert (PAPER.batch_size, PAPER.epochs_max, PAPER.patience) == (128, 1000, 5)
    assert (PAPER.channels, PAPER.head) == ((128, 256, 512), (256, 128, 128))
    assert (PAPER.normalisation, PAPER.augmentation) == ("brightest_pixel", "paper")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temprature": 0.1}, "learning.temprature = 0.1: unknown key; did you mean"),
        ({"temperature": 0.0}, "learning.temperature = 0.0: .*greater than or equal to 0.001"),
        ({"optimiser": "lars"}, "learning.optimiser = 'lars': .*'adamw' or 'sgd'"),
        ({"channels": [8, 8]}, "channels and kernels_px need one entry each"),
        ({"batch_size": 2.5}, "learning.batch_size = 2.5: .*valid integer"),
        ({"batch_size": "many"}, "learning.batch_size = 'many': .*valid integer"),
        ({"head": []}, "learning.head.*at least 1 item"),
    ],
)
def test_wrong_learning(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shipped_config(learning=changes)


def test_all_faults_of_services_are_told_at_once() -> None:
    changes = {
        "tap": {"url": "ftp://x", "mode": "maybe", "extra": 1},
        "sia": "https://x",
        "connections": 0,
        "timeout_s": math.nan,
        "retries": 1.5,
        "contact": "a\nb",
        "typo": 1,
    }
    with pytest.raises(ConfigError) as caught:
        shipped_config(services=changes)
    text = str(caught.value)
    for part in (
        "services.tap.url = 'ftp://x'",
        "services.tap.mode = 'maybe': input should be 'sync' or 'async'",
        "services.tap.extra = 1: unknown key",
        "services.sia = 'https://x'",
        "services.connections = 0: input should be greater than or equal to 1",
        "services.timeout_s = nan: input should be a finite number",
        "services.retries = 1.5",
        "services.contact = 'a\\nb'",
        "services.typo = 1: unknown key",
    ):
        assert part in text


def test_addresses_end_without_a_slash() -> None:
    config = shipped_config(services={"sia": {"url": "https://example.org/sia/"}})
    assert config.services.sia.url == "https://example.org/sia"


def test_simulated_quasars_are_left_out_where_none_are_wanted() -> None:
    def search(**changes: Any) -> Search:
        return Search.of(shipped_config(**changes), REPOSITORY)

    whole = search()
    assert whole.recognises and "recognise" in whole.evidence_rules
    assert whole.candidates_input["evidence"] == "results/des_dr2/recognise/evidence.parquet"
    assert "simulated quasars" not in whole.left_out
    without = search(recognise={"n_simulated": 0})
    assert not without.recognises and "recognise" not in without.evidence_rules
    assert "evidence" not in without.candidates_input
    assert without.left_out["simulated quasars"] == "recognise.n_simulated is 0"
    no_images = search(images={"source": "none"})
    assert not no_images.recognises and "simulated quasars" not in no_images.left_out
    assert not Search.of(shipped_config("paper"), REPOSITORY).recognises


def test_simulated_quasars_need_the_passband_of_every_image() -> None:
    changes = {"images": {"bands": ["g", "r", "i", "z", "Y", "u"]}}
    with pytest.raises(ConfigError, match="sed.passbands.u: is missing: quasars are simulated"):
        shipped_config(**changes)
    assert shipped_config(**changes, recognise={"n_simulated": 0}).images.bands[-1] == "u"


def test_lens_evidence_needs_simulated_quasars_and_can_be_left_out() -> None:
    def search(**changes: Any) -> Search:
        return Search.of(shipped_config(**changes), REPOSITORY)

    whole = search()
    assert whole.has_lensing and "lens_evidence" in whole.evidence_rules
    assert whole.candidates_input["lensing"] == "results/des_dr2/lensing/evidence.parquet"
    for changes, why in (
        ({"lensing": {"n_taught": 0}}, "lensing.n_taught is 0"),
        ({"recognise": {"n_simulated": 0}}, "recognise.n_simulated is 0"),
    ):
        without = search(**changes)
        assert not without.has_lensing and "lens_evidence" not in without.evidence_rules
        assert "lensing" not in without.candidates_input
        assert without.left_out["lens evidence"] == why
    assert "lens evidence" not in search(images={"source": "none"}).left_out
