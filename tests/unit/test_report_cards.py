"""Cards and drawn sections of the report, by their parts and as the templates show them."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.visualization import make_lupton_rgb
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from test_report_page import BANDS, SHAPES, _Page, sample

from archipelago.base.errors import InputError
from archipelago.base.images import ImageSet
from archipelago.report import content, page
from archipelago.report.charts import Photometry, photometry_chart
from archipelago.report.costs import cost_rows, duration, hours, read_benchmarks
from archipelago.report.evidence import evidence_groups, glossary, other_columns
from archipelago.report.finding import bar_length_arcsec, finding_chart
from archipelago.report.flow import flow_chart, reasons_by_step
from archipelago.report.models import binned, model_spectra
from archipelago.report.selection import axis_label, selection_panels
from archipelago.report.stability import stability_panel
from archipelago.report.stamps import common_top, grey_stamp, lupton, rgb_bands

TEMPLATES = Path(page.__file__).with_name("templates")
EVIL = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\"'"


def shown(template: str, **values: Any) -> _Page:
    """Render a partial as the page does, and check that it is whole."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    html = environment.get_template(template).render(**values)
    parsed = _Page(html)
    assert not [t for t, a in parsed.elements if t == "script" or "onerror" in a]
    assert "nan" not in parsed.words.lower().split() and '"nan"' not in html
    for tag, attributes in parsed.elements:
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
    return parsed


def some_cards(n: int = 3, **changes: Any) -> list[dict[str, Any]]:
    """Make the cards of the first of 40 objects."""
    data = sample(40, n_cards=n)
    table = content.shortlist(changes.pop("candidates", data.candidates), n)
    bands = dict.fromkeys(BANDS, 1.0) | {b: 0.4 + 0.3 * k for k, b in enumerate(BANDS)}
    values = {"images": data.images, "models": data.models, "posteriors": data.posteriors}
    values |= {"bands": bands, "figures": {}} | changes
    return content.cards(table, **values)


# ------------------------------------------------------------------------------- pictures


def test_bands_share_one_stretch() -> None:
    rng = np.random.default_rng(1)
    planes = rng.normal(0, 1, (3, 28, 28))
    planes[1] *= 50  # ten times the counts, as deep
    for k, peak in enumerate((100, 5000, 20)):
        planes[k, 14, 14] = peak
    assert common_top(planes) == pytest.approx(100, rel=0.3)
    bright, same, faint = (grey_stamp(p, common_top(planes)) for p in planes)
    middle = [_pixels(uri)[13, 14] for uri in (bright, same, faint)]
    assert abs(int(middle[0]) - int(middle[1])) < 20 and middle[2] < middle[0] - 60
    assert common_top(np.full((2, 28, 28), np.nan)) == 8.0
    inverse = grey_stamp(planes[0], 50, inverse=True)
    assert (_pixels(inverse).astype(int) + _pixels(grey_stamp(planes[0], 50)) == 255).mean() > 0.99


def _pixels(uri: str | None) -> np.ndarray:
    assert uri is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_colours_are_those_of_lupton() -> None:
    """Against astropy's version, where neither clips: equal up to its bytes."""
    planes = np.random.default_rng(2).uniform(0, 40, (8, 8, 3))
    softening, stretch = 6.0, 25.0
    want = make_lupton_rgb(
        *(planes[..., k] for k in range(3)), minimum=0, stretch=stretch, Q=softening
    )
    # astropy draws arcsinh(Q I / stretch) on its own scale: same colours, one factor.
    got = lupton(planes, softening / stretch)
    bright = want.max(axis=-1) < 250
    factor = want[bright].sum() / got[bright].sum()
    np.testing.assert_allclose(got[bright] * factor, want[bright], atol=2)


def test_finding_chart_has_scale_orientation_and_mark() -> None:
    image = np.random.default_rng(1).normal(0, 1, (5, 28, 28))
    drawn = finding_chart(image, 0.263)
    assert drawn is not None and "nan" not in drawn
    assert ">N</text>" in drawn and ">E</text>" in drawn and ">2″</text>" in drawn
    assert drawn.count("mark-line") == 2 and "north is up, east is left" in drawn
    bar = re.search(r"M14 [\d.]+V[\d.]+H([\d.]+)V", drawn)
    assert bar is not None
    assert float(bar[1]) - 14 == pytest.approx(2 / (28 * 0.263) * 240, abs=0.1)
    assert finding_chart(np.full((2, 8, 8), np.nan), 0.263) is None
    assert finding_chart(image, 0.0) is None
    bare = finding_chart(image, 0.263, oriented=False) or ""
    assert ">N</text>" not in bare and "orientation not known" in bare and ">2″</text>" in bare
    assert [bar_length_arcsec(side) for side in (7.4, 30, 1.0)] == [2, 10, 0.2]


def test_bands_of_colour_pictures() -> None:
    assert rgb_bands(list("grizY")) == ("z", "i", "r")
    assert rgb_bands(["u", "v", "w"]) == ("w", "v", "u") and rgb_bands(["u", "v"]) == ()


# ------------------------------------------------------------------------------- photometry


def test_photometry_with_passbands_spectra_and_limits() -> None:
    curve = (np.array([0.5, 0.6, 0.7]), np.array([0.0, 1.0, 0.0]))
    wave = np.linspace(0.4, 1.2, 50)
    data = Photometry(
        ["b<", "q"],
        np.array([0.6, 1.0]),
        np.array([5.0, 0.0]),
        np.array([0.5, 1.0]),
        np.array([True, False]),
        {"quasar": np.array([4.0, 5.0]), "star": np.array([5.0, 1.0])},
        spectra={"quasar": (wave, np.where(wave < 0.55, 0.0, 5.0))},
        passbands={"b<": curve},
    )
    drawn = photometry_chart(data)
    assert drawn is not None and "nan" not in drawn
    assert drawn.count('class="passband"') == 1 and drawn.count('class="limit"') == 1
    assert drawn.count('class="spot c-quasar"') == 2 and "passband b&lt;" in drawn
    quasar = re.search(r'<path d="([^"]*)" class="model c-quasar"', drawn)
    star = re.search(r'<path d="([^"]*)" class="model c-star"', drawn)
    # The spectrum is drawn point by point but not where it is dark; the star from band to band.
    assert quasar is not None and star is not None
    assert 30 < quasar[1].count("L") < 45 and star[1].count("L") == 1
    assert "detected in b&lt;; limits in q" in drawn


def test_other_bands_set_the_axis() -> None:
    data = Photometry(
        ["far"], np.array([250.0]), np.array([5.0]), np.array([0.5]), np.array([True]), {}
    )
    drawn = photometry_chart(data) or ""
    places = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    assert ">220</text>" in drawn and ">280</text>" in drawn
    assert places and 62 < places[0] < 548
    assert (
        photometry_chart(
            Photometry(["none"], np.array([np.nan]), *(np.ones(1),) * 2, np.array([True]), {})
        )
        is None
    )


def test_binned_spectra_keep_their_light() -> None:
    wave = np.linspace(1000, 2000, 2001)
    spectrum = 1 + 50 * np.exp(-((wave - 1500) ** 2) / 8)
    edges = np.geomspace(1100, 1900, 30)
    got = binned(wave, spectrum, edges)
    inside = (wave >= 1100) & (wave <= 1900)
    assert (got * np.diff(edges)).sum() == pytest.approx(
        np.trapezoid(spectrum[inside], wave[inside]), rel=1e-3
    )
    assert np.allclose(binned(wave, np.ones(2001), edges), 1)


def test_spectra_go_through_the_band_fluxes() -> None:
    """What dust and aperture take of a band they take of the spectrum there."""
    from test_report_models import _templates, _verdicts

    from archipelago.passbands import make_passband
    from archipelago.report.models import model_fluxes

    templates = _templates()
    passbands = {
        name: make_passband(name, [pivot - 400, pivot, pivot + 400], [0, 1, 0])
        for name, pivot in zip(templates.bands, templates.pivot_aa, strict=True)
    }
    listed = pd.DataFrame({"id": [7, 8]})
    whole = model_fluxes(listed, _verdicts([7]), templates, ["W1", "z"])
    half = model_fluxes(
        listed, _verdicts([7]), templates, ["W1", "z"],
        {"bands": ["z", "W1"], "quasar": 0.7526, "lensed": 0.7526},
    )  # fmt: skip
    one, two = (
        model_spectra(listed, _verdicts([7]), templates, passbands, models, ["W1", "z"])
        for models in (whole, half)
    )
    assert list(one) == [7] and set(one[7]) == {"quasar", "lensed"}
    wave, flux = one[7]["quasar"]
    assert wave[0] < 0.45 and wave[-1] > 3.38 and (flux[wave > 1] > 0).all()
    np.testing.assert_allclose(two[7]["quasar"][1], flux / 2, rtol=1e-3)
    np.testing.assert_allclose(two[7]["lensed"][1], one[7]["lensed"][1] / 2, rtol=1e-3)
    # The lensed one has the galaxy's light besides.
    assert (one[7]["lensed"][1] >= flux).all() and one[7]["lensed"][1][0] > flux[0]
    assert model_spectra(listed, _verdicts([7]), templates, {}, whole, ["W1"]) == {}


# ------------------------------------------------------------------------------- evidence


def test_each_piece_has_its_unit_and_meaning() -> None:
    row = {
        "rank": 3, "score": 2.5, "sed_term": -1.0, "has_images": True,
        "combined_p_lensed": 0.75, "p_quasar": 0.1, "lens_log_odds": 3.25,
        "centroid_shift_arcsec": 0.21, "centroid_shift_err_arcsec": 0.05,
        "extendedness_z": math.nan, "island": -1, "z_quasar": 6.1, "z_quasar_lo": 6.0,
        "z_quasar_hi": 6.2, "image_log_odds_quasar": 1.5, "image_log_odds_quasar_std": 0.3,
        "strange": EVIL,
    }  # fmt: skip
    about = {"centroid_shift_arcsec": "blue centroid against red [arcsec]", "sed_term": "weighed"}
    groups = {g["title"]: g for g in evidence_groups(row, about)}
    lens = groups["Lens evidence of the images"]
    assert [p["name"] for p in lens["pieces"]] == ["lens_log_odds", "centroid_shift_arcsec"]
    assert lens["pieces"][0] == {
        "name": "lens_log_odds", "value": "3.25", "spread": "", "unit": "nats",
        "meaning": "ln of how much more often lensed quasars have such images than single ones",
    }  # fmt: skip
    shift = lens["pieces"][1]
    assert (shift["unit"], shift["spread"]) == ("arcsec", "± 0.05")
    assert shift["meaning"] == "blue centroid against red"
    assert lens["unmeasured"] == ["extendedness_z"]
    redshift = next(p for p in groups["Photometry"]["pieces"] if p["name"] == "z_quasar")
    assert redshift["spread"] == "(6 to 6.2)"
    assert groups["LePHARE"]["absent"] == "LePHARE did not run."
    assert groups["Similarity to known quasars"]["absent"] == "The search compared no images."
    assert "sum to 1" in groups["All evidence together"]["pieces"][0]["meaning"]
    names = [e["name"] for e in other_columns(row, ["has_images"])]
    assert names == ["strange"]


@pytest.mark.parametrize(
    ("has_images", "values", "words"),
    [
        (False, {"lens_log_odds": math.nan}, "The object has no images."),
        (True, {"lens_log_odds": math.nan}, "Nothing could be measured of this object."),
        (True, {}, "The search measured no lens evidence in images."),
    ],
)
def test_absent_evidence_is_said_to_be(
    has_images: bool, values: dict[str, float], words: str
) -> None:
    groups = evidence_groups({"rank": 1, "has_images": has_images, **values})
    assert next(g for g in groups if g["title"].startswith("Lens"))["absent"] == words


def test_every_column_is_somewhere() -> None:
    """Nothing of a row is lost between the table of evidence and the other columns."""
    row = sample(5).candidates.iloc[0].to_dict()
    claimed = {p["name"] for g in evidence_groups(row) for p in g["pieces"]}
    claimed |= {name for g in evidence_groups(row) for name in g["unmeasured"]}
    spreads = {f"{name}{end}" for name in claimed for end in ("_lo", "_hi", "_std", "_err")}
    others = {e["name"] for e in other_columns(row, ())}
    absent = {name for name in row if not isinstance(row[name], str) and pd.isna(row[name])}
    assert set(row) - claimed - spreads - others - absent == set()


def test_glossary_has_units_apart() -> None:
    entries = glossary(["sed_term", "ra_deg", "unheard_of"], {"sed_term": "w [nats]; x"})
    assert entries == [{"name": "sed_term", "unit": "nats", "meaning": "w; x"}]


# ------------------------------------------------------------------------------- cards


def test_a_card_has_all_its_parts() -> None:
    data = sample(40, n_cards=2)
    candidates = data.candidates.assign(
        combined_p_star=0.1, combined_p_galaxy=0.1, combined_p_quasar=0.1,
        combined_p_lensed=0.6, combined_p_other=0.1, base_term=-2.0,
        lensed_score=1.5, lensed_lens_term=2.5, lensed_new_term=-1.0, lens_log_odds=3.0,
    )  # fmt: skip
    curve = (np.array([0.5, 0.6, 0.7]), np.array([0.0, 1.0, 0.0]))
    spectra = {
        int(i): {"quasar": (np.array([0.5, 0.6]), np.array([9.0, 9.0]))} for i in data.models
    }
    cards = some_cards(
        2, candidates=candidates, spectra=spectra, passbands={"g": curve},
        about={"lens_log_odds": "told [nats]"},
    )  # fmt: skip
    parsed = shown("card.html.j2", card=cards[0])
    for words in (
        "colour: z i r", "finding chart, all bands", "One stretch for all bands", "passbands",
        "3σ limit", "Probability by all evidence", "Probability by photometry", "Posteriors",
        "Terms of the score", "where the calibration starts", "Lensed against single quasar",
        "lens evidence of the images", "new", "What it means", "told", "quasar + galaxy",
        "LePHARE did not run.",
        "Legacy Surveys", "Aladin Lite", "SIMBAD", "VizieR",
    ):  # fmt: skip
        assert words in parsed.words, words
    pictures = [a for t, a in parsed.elements if t == "img"]
    assert len(pictures) == 6 and all(a["alt"] for a in pictures)
    assert parsed.count("svg", "finding") == 1 and parsed.count("path", "passband") == 1
    assert cards[0]["lensed"]


def test_cards_of_text_that_would_be_markup() -> None:
    data = sample(40, n_cards=2)
    candidates = data.candidates.assign(
        reason=EVIL, known_name=EVIL, tile=EVIL, spectral_type=EVIL, is_known=True
    )
    candidates[EVIL] = EVIL
    candidates[f"lens_{'x'}"] = EVIL
    parsed = shown(
        "card.html.j2", card=some_cards(2, candidates=candidates, about={"lens_x": EVIL})[0]
    )
    assert parsed.words.count("alert(1)") >= 6


@pytest.mark.parametrize("bands", [("u", "v"), ("a", "b", "c", "d")])
def test_cards_with_other_bands(bands: tuple[str, ...]) -> None:
    data = sample(40, n_cards=1)
    assert data.images is not None
    images = ImageSet(
        np.ones((len(data.images.ids), len(bands), 16, 16), np.float32), data.images.ids, bands,
        0.4, 25.0,
    )  # fmt: skip
    card = some_cards(1, images=images, bands={"u": 0.35, "v": 0.5}, models={})[0]
    parsed = shown("card.html.j2", card=card)
    assert ("no colour: fewer than three bands" in parsed.words) == (len(bands) < 3)
    assert "No flux to draw" in parsed.words


def test_cards_of_nothing_but_nan() -> None:
    candidates = sample(40, n_cards=1).candidates
    for name in candidates.select_dtypes("float").columns:
        candidates[name] = np.nan
    card = some_cards(1, candidates=candidates, images=None, posteriors=None)[0]
    parsed = shown("card.html.j2", card=card)
    assert "No cutouts of this object" in parsed.words and "No flux to draw" in parsed.words
    empty = content.cards(candidates.iloc[:0], None, {}, {}, None, {})
    assert empty == []


def test_a_card_is_small() -> None:
    data = sample(40, n_cards=3)
    wave = np.linspace(0.4, 5, 240)
    spectra = {int(i): {name: (wave, 5 + np.sin(wave)) for name in SHAPES} for i in data.models}
    curve = (np.linspace(0.4, 0.6, 300), np.ones(300))
    cards = some_cards(3, spectra=spectra, passbands=dict.fromkeys(BANDS, curve))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("card.html.j2")
    assert max(len(template.render(card=card).encode()) for card in cards) < 80_000


# ------------------------------------------------------------------------------- cut flow


def _flow(*steps: tuple[str, str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(steps, columns=["stage", "cut", "rows_in", "rows_out"])


def _losses(**counts: int) -> pd.DataFrame:
    rows = [
        {"stage": key.partition("__")[0], "reason": key.partition("__")[2].replace("_", " ")}
        for key, n in counts.items()
        for _ in range(n)
    ]
    return pd.DataFrame(rows, columns=["stage", "reason"])


def test_reasons_go_to_the_steps_that_they_are_of() -> None:
    flow = _flow(
        ("match", "a", 100, 70), ("match", "b", 70, 65), ("cuts", "J seen", 65, 60),
        ("cuts", "last", 60, 50), ("images", "all found", 50, 47),
    )  # fmt: skip
    losses = _losses(
        match__no_partner=30, match__else=5, cuts__J_seen=5, cuts__x=4, cuts__y=6,
        images__blank=2, images__late=1,
    )  # fmt: skip
    assert reasons_by_step(flow, losses) == [
        [("no partner", 30)], [("else", 5)], [("J seen", 5)], [("y", 6), ("x", 4)],
        [("blank", 2), ("late", 1)],
    ]  # fmt: skip
    assert reasons_by_step(flow, losses.iloc[:0]) == [[]] * 5


def test_the_stream_narrows_and_names_what_leaves_it() -> None:
    flow = _flow(("match", EVIL, 1000, 400), ("cuts", "none", 400, 400), ("cuts", "all", 400, 0))
    drawn = flow_chart(flow, _losses(match__far_away=600), [("likely", 3)])
    assert drawn is not None and not drawn["log"]
    chart = str(drawn["chart"])
    widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="14" class="stream', chart)]
    assert widths[0] == 330 and widths[1] == pytest.approx(132) and widths[2] == widths[1]
    assert widths[3] == 0.5 and chart.count('class="leaving"') == 2
    assert ">far away</text>" in chart and "−600  (60.0 %)" in chart and "none lost" in chart
    assert "nan" not in chart and "<script" not in chart
    steps = content.cut_flow(flow)
    parsed = shown(
        "flow.html.j2", steps=steps, stream=drawn, losses=[], n_losses="0", sky=None, tiles=[]
    )
    assert parsed.count("svg", "stream-chart") == 1
    plain = shown("flow.html.j2", steps=[], losses=[], n_losses="0", sky=None, tiles=[])
    assert "The cut flow is empty" in plain.words
    assert flow_chart(flow.iloc[:0], _losses()) is None


def test_a_stream_over_many_decades_is_logarithmic() -> None:
    drawn = flow_chart(_flow(("select", "s", 10**9, 200)), _losses())
    assert drawn is not None and drawn["log"]
    zero = flow_chart(_flow(("select", "s", 0, 0)), _losses())
    assert zero is not None and not zero["log"] and "nan" not in str(zero["chart"])


# ------------------------------------------------------------------------------- costs


@pytest.fixture()
def run(tmp_path: Path) -> Path:
    """A run's benchmarks: one job, two jobs with a GPU, one of a moment, one damaged."""
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"

    def write(name: str, seconds: str, rss: str, cpu: str) -> None:
        path = tmp_path / "benchmarks" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{head}{seconds}\t-\t{rss}\t1\t1\t1\t0\t0\t0\t{cpu}\n")

    write("sed", "10.18", "356.09", "7200")
    write("train/seed-1", "1800", "582.3", "3600")
    write("train/seed-2", "900", "600", "100")
    write("select/o5-1", "0.3", "NA", "NA")
    (tmp_path / "benchmarks" / "map.tsv").write_text("")
    (tmp_path / "benchmarks" / "bad.tsv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "logs" / "train").mkdir(parents=True)
    (tmp_path / "logs" / "train" / "seed-1.log").write_text(
        "x training on 1420 images, batches of 256, NVIDIA H100, bfloat16, torch 2.13.0\n"
    )
    (tmp_path / "logs" / "train" / "seed-2.log").write_text(
        "x training on 1420 images, batches of 256, CPU, 1 threads, float32, torch 2.13.0\n"
    )
    (tmp_path / "logs" / "sed.log").write_text("x fits on the CPU with numpy: no driver\n")
    return tmp_path


def test_costs_per_rule(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = read_benchmarks(run)
    assert table["rule"].tolist() == ["sed", "select", "train", "train"]
    assert "map.tsv cannot be read" in caplog.text and "bad.tsv cannot be read" in caplog.text
    assert table["gpu"].tolist() == ["", "", "NVIDIA H100", ""]
    costs = cost_rows(table, {"train": 2})
    assert costs is not None
    assert [row["rule"] for row in costs["rows"]] == ["sed", "train", "select"]
    train = costs["rows"][1]
    assert (train["jobs"], train["wall"], train["longest"]) == ("2", "45 min 00 s", "30 min 00 s")
    assert (train["cpu"], train["gpu"], train["memory"]) == ("1.03", "1.00", "600 MB")
    assert costs["rows"][2]["memory"] == "–" and costs["unmeasured"] == 1
    assert costs["total"]["jobs"] == "4" and costs["devices"] == ["NVIDIA H100"]
    words = shown("costs.html.j2", costs=costs).words
    assert "together" in words and "Of 1 jobs" in words and "NVIDIA H100" in words


def test_absent_benchmarks_are_said_to_be(tmp_path: Path) -> None:
    assert read_benchmarks(tmp_path).empty
    assert cost_rows(read_benchmarks(tmp_path)) is None and cost_rows(None) is None
    assert "there are no benchmark files" in shown("costs.html.j2", costs=None).words


@pytest.mark.parametrize(
    ("seconds", "words", "in_hours"),
    [
        (0.04, "0.0 s", "< 0.001"),
        (59.96, "1 min 00 s", "0.017"),
        (3600, "1 h 00 min", "1.00"),
        (1e6, "277 h 47 min", "277.8"),
        (0, "0.0 s", "0"),
        (math.nan, "–", "–"),
    ],
)
def test_times_in_words(seconds: float, words: str, in_hours: str) -> None:
    assert duration(seconds) == words and hours(seconds) == in_hours


# ------------------------------------------------------------------------------- selection


def _completeness() -> pd.DataFrame:
    rows = [
        (
            "z_mag",
            20.0 + k,
            21.0 + k,
            stage,
            50,
            50 - 10 * k - lost,
            1 - 0.2 * k,
            0.7 - 0.2 * k,
            1.0,
        )
        for stage, lost in (("cuts", 0), (EVIL, 1))
        for k in range(3)
    ]
    rows += [("redshift", math.nan, math.nan, "cuts", 0, 0, math.nan, math.nan, math.nan)]
    columns = ["axis", "bin_lo", "bin_hi", "stage", "n", "k", "completeness", "lo", "hi"]
    return pd.DataFrame(rows, columns=columns)


def test_completeness_is_drawn_per_axis_with_intervals() -> None:
    fraction = pd.DataFrame({"lensed_fraction": [0.03], "note": [EVIL], "gone": [None]})
    drawn = selection_panels(_completeness(), fraction)
    assert drawn is not None
    first, second = drawn["panels"]
    assert first["title"] == "z mag  [mag]" and second["chart"] is None
    chart = str(first["chart"])
    assert chart.count('class="interval k1 last"') == 3 and chart.count('class="curve') == 2
    assert "80.0 % (50.0 % to 100.0 %), 39 of 50" in chart and "nan" not in chart
    parsed = shown("selection.html.j2", selection=drawn)
    assert "No bin of redshift to draw" in parsed.words and "0.03" in parsed.words
    assert parsed.words.count("alert(1)") >= 2
    assert selection_panels(None) is None
    assert "Nothing was injected" in shown("selection.html.j2", selection=None).words


def test_kinds_have_panels_of_their_own_and_open_bins_end() -> None:
    table = _completeness().iloc[:3].assign(kind="lensed", bin_lo=[-math.inf, 21.0, 22.0])
    drawn = selection_panels(pd.concat([table, table.assign(kind="quasar")]))
    assert drawn is not None
    assert [p["title"] for p in drawn["panels"]] == ["lensed: z mag  [mag]", "quasar: z mag  [mag]"]
    assert "inf" not in str(drawn["panels"][0]["chart"])
    with pytest.raises(InputError, match="completeness"):
        selection_panels(table.drop(columns="hi"))


def test_all_stages_stand_in_the_whole_and_few_are_drawn() -> None:
    stages = ["a", "same as a", "first 10 by sed", *(f"s{k}" for k in range(9))]
    rows = [
        (axis, 20.0 + b, 21.0 + b, stage, 50, max(50 - k, 1), 0.5, 0.4, 0.6)
        for axis in ("all", "z_mag")
        for b in range(2)
        for k, stage in enumerate(stages)
    ]
    table = pd.DataFrame(rows, columns=_completeness().columns).assign(kind="quasar")
    table.loc[table["stage"] == "same as a", "k"] = 50
    drawn = selection_panels(table)
    assert drawn is not None and len(drawn["panels"]) == 1 and len(drawn["overall"]) == 1
    panel = drawn["panels"][0]
    assert [stage["name"] for stage in panel["stages"]] == [f"s{k}" for k in range(2, 9)]
    assert panel["undrawn"] == 5 and len(panel["rows"]) == 24
    parsed = shown("selection.html.j2", selection=drawn)
    assert "quasar: what is left after each step" in parsed.words
    few = selection_panels(table[table["stage"].isin(stages[:3])])
    assert few is not None
    assert [stage["name"] for stage in few["panels"][0]["stages"]] == ["same as a"]


def test_axes_have_units() -> None:
    assert axis_label("separation_arcsec") == "separation  [arcsec]"
    assert axis_label("lens_redshift") == "lens redshift"


# ------------------------------------------------------------------------------- stability


def test_stability_of_the_places() -> None:
    table = pd.DataFrame(
        {
            "rank": [1, 2, 3], "id": [5, 6, 7], "is_known": [True, False, False],
            "similarity_rank": [3.0, 10.0, np.nan], "similarity_rank_lo": [2.0, 10.0, np.nan],
            "similarity_rank_hi": [5.0, 10.0, np.nan], "island": [1, -1, 1],
            "island_stability": [0.9, 0.1, np.nan],
        }
    )  # fmt: skip
    drawn = stability_panel(table)
    assert drawn is not None and drawn["n"] == 2 and drawn["median_stability"] == "0.90"
    assert "nan" not in str(drawn["chart"]) and "5: 3 (2 to 5)" in str(drawn["chart"])
    assert stability_panel(table[["rank"]]) is None and stability_panel(table.iloc[2:]) is None
    assert "No stability to show" in shown("stability.html.j2").words


def test_styles_take_their_colours_from_the_page() -> None:
    """Light, dark and print are one style sheet's matter; only charts on paper are fixed."""
    style = (TEMPLATES / "cards.css").read_text(encoding="utf-8")
    fixed = set(re.findall(r"#[0-9a-fA-F]{3,6}\b", style))
    assert fixed == {"#fff", "#b3261e", "#10222c"}
    assert "url(" not in style and "@import" not in style
