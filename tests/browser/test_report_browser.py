"""The report in a real browser: opened from a file, without a network, under its policy."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io.votable import parse_single_table

from archipelago.base.images import ImageSet
from archipelago.measure.report import synthetic_report
from archipelago.report.page import ReportData, render_report

pytestmark = pytest.mark.slow

EVIL = "</script><script>window.ran=1</script><img src=x onerror=window.ran=1>{{1}}\"'`=`"
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def data() -> ReportData:
    return synthetic_report(160, 6, fillers=4)


@pytest.fixture(scope="module")
def page(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(data), encoding="utf-8")
    return path


def _middle(tab: Any) -> tuple[float, float]:
    """Where the middle of the plot's axes stands on the screen."""
    x, y = tab.evaluate(
        """async () => {
          document.querySelector("#plot").scrollIntoView({ behavior: "instant", block: "center" });
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          const view = Array.from(Bokeh.index.roots ?? Object.values(Bokeh.index))[0];
          const box = view.frame.bbox;
          const host = view.el.getBoundingClientRect();
          return [host.left + box.hcenter, host.top + box.vcenter];
        }"""
    )
    return float(x), float(y)


def _hover(opened: Any, object_id: Any) -> Any:
    """Move the mouse about the middle of the map until an object's box shows; return the box.

    The map goes to what was searched in frames of its own: a mouse that came before and rests there
    is told nothing. Its middle is asked for each time, since the page may still move.
    """
    box = opened.tab.locator(f".bk-Tooltip div[data-id='{object_id}']")
    steps = itertools.cycle((0, 1))

    def shown() -> bool:
        x, y = _middle(opened.tab)
        opened.tab.mouse.move(x + next(steps), y)
        return bool(box.count() and box.first.is_visible())

    opened.until(f"the box of object {object_id} shows", shown)
    return box


def test_opens_without_a_word(page: Path, open_page: Open) -> None:
    opened = open_page(page)
    tab = opened.tab
    # The policy refuses evaluation: what follows runs without it.
    refused = tab.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s); return window.ran === undefined; }"
    )
    assert refused
    assert tab.evaluate("window.violations.length") == 1
    tab.evaluate("window.violations.length = 0")
    opened.complaints[:] = [c for c in opened.complaints if "Content Security Policy" not in c]
    policy = tab.locator("meta[http-equiv]").get_attribute("content")
    assert "unsafe-eval" not in policy and "default-src 'none'" in policy
    assert tab.evaluate("typeof Bokeh.Plotting.figure") == "function"
    assert opened.count("#plot canvas") or opened.count("#plot .bk-Figure")
    assert "160 objects drawn" in opened.text("#map-note")
    opened.check()


def test_evaluation_is_refused_while_the_map_is_used(page: Path, open_page: Open) -> None:
    text = page.read_text(encoding="utf-8")
    mark = '<script type="application/json" id="data">'
    # Our own script asks for evaluation, with its hash in the policy: it must be refused.
    probe = 'try{new Function("window.ran=1")()}catch(e){window.refused=e.name}'
    from archipelago.report.scripts import script_hash

    text = text.replace("script-src ", f"script-src {script_hash(probe)} ", 1)
    path = page.with_name("probe.html")
    path.write_text(text.replace(mark, f"<script>{probe}</script>{mark}", 1), encoding="utf-8")
    tab = open_page(path).tab
    assert tab.evaluate("window.refused") == "EvalError"
    assert tab.evaluate("window.ran === undefined")


def test_hover_shows_cutout_id_and_magnitudes(
    data: ReportData, page: Path, open_page: Open
) -> None:
    opened = open_page(page)
    tab = opened.tab
    first = data.candidates.iloc[0]
    tab.locator("#search").fill(str(first["id"]))
    tab.locator("#search").press("Enter")
    box = _hover(opened, first["id"])
    words = box.inner_text()
    assert str(first["id"]) in words
    assert f"{first['mag_ab_z']:.2f}" in words and f"{first['mag_ab_J']:.2f}" in words
    drawn = box.locator("canvas").evaluate(
        "c => Math.max(...c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
        ".filter((_, k) => k % 4 === 0))"
    )
    assert drawn > 100
    opened.check()


@pytest.mark.parametrize("tool", ["lasso", "box"])
def test_lasso_and_box_fill_the_table(
    tool: str, data: ReportData, page: Path, open_page: Open, tmp_path: Path
) -> None:
    opened = open_page(page)
    tab = opened.tab
    tab.locator(f"#tools button[data-tool='{tool}']").click()
    x, y = _middle(tab)
    corners = [(-300, -220), (300, -220), (300, 220), (-300, 220)]
    tab.mouse.move(x + corners[0][0], y + corners[0][1])
    tab.mouse.down()
    for dx, dy in corners[1:] if tool == "lasso" else corners[2:3]:
        tab.mouse.move(x + dx, y + dy, steps=6)
    tab.mouse.up()
    tab.locator("#chosen").wait_for()
    n = int(opened.text("#chosen-count").split()[0])
    assert 3 < n <= len(data.candidates)
    assert opened.count("#chosen-table tbody tr") == min(n, 20)
    saved = pd.read_csv(opened.save("#chosen-csv", tmp_path))
    assert len(saved) == n and set(saved["id"]) <= set(data.candidates["id"])
    tab.locator("#chosen-clear").click()
    assert not tab.locator("#chosen").is_visible()
    opened.check()


def test_search_by_id_and_coordinates(data: ReportData, page: Path, open_page: Open) -> None:
    opened = open_page(page)
    tab = opened.tab
    row = data.candidates.iloc[17]
    ra, dec = float(row["ra_deg"]), float(row["dec_deg"])
    h, m, s = _parts(ra / 15, 3)
    d, a, b = _parts(abs(dec), 2)
    for typed in (
        str(row["id"]),
        f"{ra:.5f} {dec:.5f}",
        f"{ra:.5f}, {dec:.5f}",
        f"{h}:{m}:{s} -{d}:{a}:{b}",
        f"{h} {m} {s} -{d} {a} {b}",
        f"{h}h{m}m{s}s -{d}d{a}m{b}s",
        f"J{h}{m}{s}-{d}{a}{b}",
        f"{h}:{m}:{s} \u2212{d}:{a}:{b}",
    ):
        tab.evaluate("document.querySelector('#panel').dataset.id = ''")
        tab.locator("#search").fill(typed)
        tab.locator("#search").press("Enter")
        assert tab.locator("#panel").get_attribute("data-id") == str(row["id"]), typed
    assert tab.locator(f"#list tr.current[data-id='{row['id']}']").count() == 1
    for typed, told in (
        ("100.0 80.0", "nearest object lies"),
        ("12345", "No object"),
        ("25:00:00 +10:00:00", "No object"),
        ("10 -95", "No object"),
    ):
        tab.locator("#search").fill(typed)
        tab.locator("#search").press("Enter")
        assert told in opened.text("#search-told"), typed
    opened.check()


def _parts(value: float, places: int) -> tuple[str, str, str]:
    whole = round(value * 3600 * 10**places)
    seconds, rest = divmod(whole, 10**places)
    width = 3 + places
    return (
        f"{seconds // 3600:02d}",
        f"{seconds // 60 % 60:02d}",
        f"{seconds % 60 + rest / 10**places:0{width}.{places}f}",
    )


def _ids(opened: Any) -> list[int]:
    rows = opened.tab.locator("#list tbody tr")
    return [int(text) for text in rows.evaluate_all("rows => rows.map(r => r.dataset.id)")]


def test_sort_filter_and_pages(data: ReportData, page: Path, open_page: Open) -> None:
    opened = open_page(page)
    tab = opened.tab
    table = data.candidates
    assert _ids(opened) == table["id"].head(50).tolist()
    tab.locator("#list th[data-name='mag_ab_z'] button").click()
    z = table["mag_ab_z"].where(table["mag_ab_z"] < 90)
    faint_last = table.assign(z=z).sort_values(["z", "rank"], na_position="last")["id"]
    assert _ids(opened) == faint_last.head(50).tolist()
    assert tab.locator("#list th[data-name='mag_ab_z']").get_attribute("aria-sort") == "ascending"
    tab.locator("#list th[data-name='mag_ab_z'] button").click()
    bright_last = table.assign(z=z).sort_values(
        ["z", "rank"], ascending=[False, True], na_position="last"
    )["id"]
    assert _ids(opened) == bright_last.head(50).tolist()
    tab.locator("#list th[data-name='rank'] button").click()
    tab.get_by_role("button", name="Next").first.click()
    assert _ids(opened) == table["id"].iloc[50:100].tolist()
    tab.locator("#find").fill("p_quasar>0.5 is_known=no")
    wanted = table[(table["p_quasar"] > 0.5) & ~table["is_known"]]
    opened.until(
        "the wanted are shown", lambda: opened.text("#count") == f"{len(wanted)} of 160 shown"
    )
    assert _ids(opened) == wanted["id"].head(50).tolist()
    tab.locator("#find").fill("nonsense>3")
    tab.locator("#filter-error").get_by_text("No column is named nonsense").wait_for()
    tab.locator("#find").fill(str(table["id"].iloc[70]))
    opened.until("one row is left", lambda: opened.count("#list tbody tr") == 1)
    assert _ids(opened) == [table["id"].iloc[70]]
    tab.locator("#find").fill("")
    tab.locator("#hide-known").check()
    n_unknown = int((~table["is_known"]).sum())
    opened.until(
        "the unknown are shown", lambda: opened.text("#count") == f"{n_unknown} of 160 shown"
    )
    opened.check()


def test_saved_tables_hold_what_is_shown(
    data: ReportData, page: Path, open_page: Open, tmp_path: Path
) -> None:
    opened = open_page(page)
    tab = opened.tab
    tab.locator("details.chooser summary").click()
    tab.locator("#column-list input[value='evidence_2']").check()
    tab.locator("#column-list input[value='is_known']").check()
    tab.locator("#find").fill("mag_ab_z<21")
    wanted = data.candidates[data.candidates["mag_ab_z"] < 21]
    opened.until(
        "the wanted are counted", lambda: opened.text("#count").startswith(f"{len(wanted)} of")
    )
    tab.locator("#list th[data-name='mag_ab_z'] button").click()
    wanted = wanted.sort_values(["mag_ab_z", "rank"])
    csv = pd.read_csv(opened.save("#csv", tmp_path))
    votable = parse_single_table(io.BytesIO(opened.save("#votable", tmp_path).read_bytes()))
    table = votable.to_table()
    for name in ("id", "rank"):
        assert csv[name].tolist() == wanted[name].tolist() == table[name].tolist()
    for name in ("ra_deg", "dec_deg"):
        np.testing.assert_array_equal(csv[name], wanted[name])
        np.testing.assert_array_equal(table[name], wanted[name])
    for name in ("mag_ab_z", "p_quasar", "evidence_2", "score"):
        np.testing.assert_allclose(csv[name], wanted[name], rtol=1e-6)
        np.testing.assert_allclose(np.asarray(table[name]), wanted[name], rtol=1e-6)
    assert csv["is_known"].tolist() == wanted["is_known"].tolist()
    assert [bool(flag) for flag in table["is_known"]] == wanted["is_known"].tolist()
    assert str(table["ra_deg"].unit) == "deg" and str(table["mag_ab_z"].unit) == "mag"
    fields = {found.name: found for found in votable.fields}
    assert fields["ra_deg"].ucd == "pos.eq.ra;meta.main"
    assert "reason" not in csv.columns
    opened.check()


def test_votes_are_kept_saved_and_taken(
    data: ReportData, page: Path, open_page: Open, tmp_path: Path
) -> None:
    opened = open_page(page)
    tab = opened.tab
    first, second = (int(i) for i in data.candidates["id"].head(2))
    card = f"#object-{first}"
    tab.locator(f"{card} button[data-vote='yes']").click()
    note = 'double? "sharp", =1+1\n<b>'.replace("\n", " ")
    tab.locator(f"{card} .note-text").fill(note)
    tab.locator(f"{card} .note-text").press("Tab")
    tab.locator(f"#list tr[data-id='{second}'] button[data-vote='no']").click()
    assert "1 yes, 0 maybe, 1 no" in opened.text("#votes-count")
    tab.reload()
    tab.wait_for_selector("html[data-ready]", state="attached")
    assert tab.locator(f"{card} .note-text").input_value() == note
    pressed = f"{card} button[data-vote='yes'][aria-pressed='true']"
    assert tab.locator(pressed).count() == 1
    tab.locator("#vote-filter").select_option("yes")
    assert _ids(opened) == [first]
    votes = pd.read_csv(opened.save("#votes-csv", tmp_path))
    assert votes["id"].tolist() == [first, second]
    assert votes["vote"].tolist() == ["yes", "no"] and votes["note"][0] == note
    kept = opened.save("#votes-json", tmp_path)
    assert len(json.loads(kept.read_text())["votes"]) == 2
    opened.check()
    # Another reader's browser takes them.
    other = open_page(page)
    other.tab.locator("#votes-file").set_input_files(kept)
    other.until("the vote is counted", lambda: other.text("#votes-count").startswith("1 yes"))
    assert other.tab.locator(f"{card} .note-text").input_value() == note
    bad = tmp_path / "bad.json"
    bad.write_text('{"votes": 3}')
    other.tab.locator("#votes-file").set_input_files(bad)
    other.until(
        "the file is refused",
        lambda: "holds no votes" in str(other.tab.locator("#status").text_content()),
    )
    other.check()


def test_refused_storage_is_said(page: Path, open_page: Open) -> None:
    opened = open_page(page, storage=False)
    assert "This browser keeps nothing" in opened.text(".store-note")
    opened.tab.locator("article.card button[data-vote='maybe']").first.click()
    assert "1 maybe" in opened.text("#votes-count")
    opened.check()


def test_keyboard(data: ReportData, page: Path, open_page: Open) -> None:
    opened = open_page(page)
    tab = opened.tab
    keys = tab.keyboard
    keys.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    keys.press("Tab")
    outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    keys.press("?")
    assert tab.locator("#help").is_visible()
    keys.press("Escape")
    assert not tab.locator("#help").is_visible()
    ids = [int(i) for i in data.candidates["id"]]
    keys.press("j")
    assert tab.evaluate("document.activeElement.id") == f"object-{ids[0]}"
    keys.press("y")
    assert "1 yes" in opened.text("#votes-count")
    keys.press("j")
    keys.press("n")
    assert "1 yes, 0 maybe, 1 no" in opened.text("#votes-count")
    keys.press("n")
    keys.press("k")
    assert tab.evaluate("document.activeElement.id") == f"object-{ids[0]}"
    keys.press("o")
    keys.type("y")  # typed into the note, no vote
    assert "1 yes, 0 maybe, 0 no" in opened.text("#votes-count")
    keys.press("Escape")
    tab.evaluate("document.activeElement.blur()")
    keys.press("/")
    assert tab.evaluate("document.activeElement.id") == "search"
    tab.evaluate("document.activeElement.blur()")
    keys.press("g")
    assert tab.evaluate("document.activeElement.id") == "plot"
    seen = set()
    for key in ("ArrowRight", "ArrowLeft", "ArrowDown", "ArrowDown", "ArrowUp", "ArrowRight"):
        keys.press(key)
        seen.add(tab.locator("#panel").get_attribute("data-id"))
    assert len(seen) > 2 and None not in seen
    keys.press("Enter")
    assert opened.text("#chosen-count") == "1 chosen"
    keys.press("Escape")
    assert not tab.locator("#chosen").is_visible()
    keys.press("l")
    assert tab.locator("#tools [data-tool='lasso']").get_attribute("aria-pressed") == "true"
    tab.locator("#list th[data-name='score'] button").focus()
    keys.press("Enter")
    assert tab.locator("#list th[data-name='score']").get_attribute("aria-sort") == "descending"
    keys.press("?")
    tab.locator("#keys-on").uncheck()
    keys.press("Escape")
    tab.evaluate("document.activeElement.blur()")
    keys.press("/")
    assert tab.evaluate("document.activeElement.id") != "search"
    opened.check()


def test_every_colour_and_view(page: Path, open_page: Open) -> None:
    opened = open_page(page)
    tab = opened.tab
    for k, name in enumerate(
        tab.locator("#colour option").evaluate_all("list => list.map(o => o.value)")
    ):
        if k % 6 == 0 or name in ("island", "class", "p", "tile", "is_known"):
            tab.locator("#colour").select_option(name)
            assert tab.locator("#legend").inner_text().strip(), name
    for name in tab.locator("#view option").evaluate_all("list => list.map(o => o.value)"):
        tab.locator("#view").select_option(name)
        assert "objects drawn" in opened.text("#map-note")
    assert tab.locator("#x-column").is_visible()
    tab.locator("#x-column").select_option("ra_deg")
    tab.locator("#y-column").select_option("mag_ab_g")
    opened.check()


def test_light_and_dark(page: Path, open_page: Open) -> None:
    opened = open_page(page, scheme="dark")
    tab = opened.tab

    def paper() -> str:
        return str(tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    by_system = paper()
    assert by_system == "rgb(14, 22, 28)"
    tab.locator("#theme").click()  # dark, by choice
    assert paper() == by_system
    tab.locator("#theme").click()
    assert paper() == "rgb(251, 250, 246)"
    tab.reload()
    assert paper() == "rgb(251, 250, 246)"
    opened.check()


def _legend(tab: Any) -> set[str]:
    """Return the colours that the map's legend shows."""
    dots = tab.locator("#legend i.dot")
    found = dots.evaluate_all("dots => dots.map((dot) => dot.style.background)")
    return {colour.replace(" ", "") for colour in found}


def test_on_paper(page: Path, open_page: Open, tmp_path: Path) -> None:
    opened = open_page(page, scheme="dark")
    tab = opened.tab
    tab.emulate_media(media="print")
    assert not tab.locator("nav").is_visible()
    assert tab.locator("#tools button >> visible=true").count() == 0
    white = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert white == "rgb(255, 255, 255)"
    tab.emulate_media(media="screen", color_scheme="dark")
    on_screen = _legend(tab)
    printed = tmp_path / "report.pdf"
    tab.pdf(path=str(printed), format="A4")
    assert printed.stat().st_size > 20_000
    assert _legend(tab) == on_screen and tab.locator("svg.on-paper").count() == 0
    opened.check()


def test_the_map_on_paper_is_whole_and_in_light_colours(page: Path, open_page: Open) -> None:
    opened = open_page(page, scheme="dark")
    tab = opened.tab
    on_screen = _legend(tab)
    tab.set_viewport_size({"width": 700, "height": 990})  # a sheet
    tab.emulate_media(media="print", color_scheme="dark")
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    drawn = tab.locator("svg.on-paper")
    assert drawn.count() == 1 and drawn.is_visible() and not tab.locator("#plot").is_visible()
    box = drawn.bounding_box()
    assert box["x"] >= 0 and box["width"] > 400 and box["x"] + box["width"] <= 700
    paths = drawn.locator("path")
    fills = set(paths.evaluate_all("paths => paths.map((path) => path.getAttribute('fill'))"))
    assert len(on_screen) == 3 and not on_screen & fills
    assert len(_legend(tab)) == 3 and _legend(tab) <= fills
    tab.emulate_media(media="screen", color_scheme="dark")
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert drawn.count() == 0 and _legend(tab) == on_screen
    assert tab.evaluate("document.documentElement.dataset.theme === undefined")
    opened.check()


def test_nothing_from_data_runs(data: ReportData, open_page: Open) -> None:
    table = data.candidates.copy()
    for name in table.columns:
        if table[name].dtype == object or isinstance(table[name].dtype, pd.StringDtype):
            table[name] = EVIL
    table = table.rename(columns={"evidence_1": EVIL}).assign(is_known=table["is_known"] | True)
    hostile = dataclasses.replace(
        data,
        run=EVIL,
        candidates=table,
        catalogue=data.catalogue.assign(tile=EVIL),
        losses=data.losses.assign(stage=EVIL, reason=EVIL, detail=EVIL),
        cutflow=data.cutflow.assign(stage=EVIL, cut=EVIL),
        left_out={EVIL: EVIL},
        config={"run": EVIL, "survey": {"name": EVIL, "query": EVIL, "footprint": EVIL}},
        maps={EVIL: data.maps["seed 1"]},
        about={"score": EVIL, EVIL: EVIL},
    )
    opened = open_page(hostile)
    tab = opened.tab
    assert tab.locator("h1").inner_text() == EVIL
    tab.locator("#search").fill(str(table["id"].iloc[0]))
    tab.locator("#search").press("Enter")
    _hover(opened, table["id"].iloc[0])
    tab.locator("details.chooser summary").click()
    tab.locator("#column-list input").evaluate_all(
        "ticks => ticks.filter(tick => !tick.checked).forEach(tick => tick.click())"
    )
    assert opened.count("#list th") == len(table.columns) + 3
    for name in tab.locator("#colour option").evaluate_all("list => list.map(o => o.value)"):
        tab.locator("#colour").select_option(name)
    tab.locator("#plot").press("Enter")
    assert "known: </script>" in opened.text("#panel")
    opened.check()


def test_hostile_texts_in_saved_tables(data: ReportData, open_page: Open, tmp_path: Path) -> None:
    table = data.candidates.assign(tile=EVIL + "\x01\n,;", known_name="=HYPERLINK(1)")
    opened = open_page(dataclasses.replace(data, candidates=table))
    opened.tab.locator("details.chooser summary").click()
    for name in ("tile", "known_name"):
        opened.tab.locator(f"#column-list input[value='{name}']").check()
    csv = pd.read_csv(opened.save("#csv", tmp_path))
    assert csv["tile"][0] == EVIL + "\x01\n,;"
    # A spreadsheet must not take a name for a formula.
    assert csv["known_name"][0] == "'=HYPERLINK(1)"
    saved = opened.save("#votable", tmp_path).read_bytes()
    parsed = parse_single_table(io.BytesIO(saved)).to_table()
    assert str(parsed["tile"][0]).startswith(EVIL)
    opened.check()


def _nan(data: ReportData) -> ReportData:
    table = data.candidates.copy()
    for name in table.select_dtypes("float").columns:
        table[name] = np.nan
    assert data.images is not None
    images = ImageSet(
        np.full_like(data.images.images, np.nan), data.images.ids, data.images.bands, 0.263, 30.0
    )
    maps = {"seed 1": data.maps["seed 1"].assign(x=np.nan)}
    return dataclasses.replace(data, candidates=table, images=images, maps=maps)


@pytest.mark.parametrize("case", ["none", "one", "no images", "nan", "all cards", "same place"])
def test_bad_input(case: str, data: ReportData, open_page: Open) -> None:
    shown = {
        "none": lambda: synthetic_report(0, 5, fillers=2),
        "one": lambda: synthetic_report(1, 5, fillers=2),
        "no images": lambda: synthetic_report(40, 3, side_px=0, fillers=2),
        "nan": lambda: _nan(data),
        "all cards": lambda: synthetic_report(30, 30, fillers=2),
        "same place": lambda: dataclasses.replace(
            data, candidates=data.candidates.assign(ra_deg=10.0, dec_deg=-5.0), maps={}
        ),
    }[case]()
    opened = open_page(shown)
    tab = opened.tab
    n = len(shown.candidates)
    assert opened.count("article.card") >= min(n, shown.n_cards)
    if n == 0:
        assert "No candidate" in opened.text("#candidates")
    else:
        assert len(_ids(opened)) == min(n, 50)
        tab.locator("#find").fill("nothing is called like this")
        tab.locator("#list .empty").wait_for()
    if case == "no images":
        assert "images.source is none" in opened.text("#map")
        assert "40 objects drawn" in opened.text("#map-note")
    assert "NaN" not in tab.locator("main").inner_text()
    opened.check()


def test_without_a_script_the_page_is_still_read(page: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto(page.resolve().as_uri())
    assert tab.locator("#list tbody tr").count() == 50
    assert "need JavaScript" in tab.locator("noscript").inner_text()
    context.close()
