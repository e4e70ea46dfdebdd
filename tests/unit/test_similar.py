"""More like this: the index, the object asked for, and what is told of those like it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.configuration import shipped_config
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from archipelago.base.columns import write_columns
from archipelago.base.errors import ConfigError, DataError, InputError
from archipelago.base.images import save_images
from archipelago.base.targets import Target, parse_target
from archipelago.config.search import Search
from archipelago.islands.similarity import unit_rows
from archipelago.learning.store import save_features
from archipelago.measure.similar import make_search, measure_size, time_command, true_nearest
from archipelago.similar import neighbours
from archipelago.similar.__main__ import main
from archipelago.similar.answer import ABOUT, MATCH_RADIUS_ARCSEC, SHOWN, answer, find_evidence
from archipelago.similar.directions import measure_directions, open_features
from archipelago.similar.index import (
    Index,
    check_centre,
    index_from_files,
    load_index,
    save_index,
)
from archipelago.similar.neighbours import nearest_objects, ranked
from archipelago.similar.objects import find_object, separation_arcsec

BIG = 9_007_199_254_740_993  # not a float64


def made_features(n: int, seeds: int = 2, width: int = 16) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    latent = rng.standard_normal((n, 4))
    found = []
    for _ in range(seeds):
        values = np.maximum(latent @ rng.standard_normal((4, width)) + 0.3, 0.0) + 0.01
        values += 0.05 * rng.random(values.shape)
        found.append((values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32))
    return found


def write_run(
    run: Path,
    features: Sequence[NDArray[np.float32]],
    *,
    ids: Sequence[int] | None = None,
    ra_deg: Sequence[float] | None = None,
    bands: Sequence[str] = ("g", "r", "i", "z"),
) -> Path:
    """Write a finished search; ids are in no order, and the catalogue in another."""
    n = len(features[0])
    chosen = np.array(ids if ids is not None else BIG - 10 * np.arange(n), dtype=np.int64)
    rng = np.random.default_rng(3)
    for number, values in enumerate(features, start=1):
        save_features(run / f"learning/seed-{number}/features.npz", chosen, values)
    places = {
        "id": pa.array(chosen[::-1]),
        "ra_deg": pa.array(np.array(ra_deg if ra_deg is not None else np.arange(n) * 0.01)[::-1]),
        "dec_deg": pa.array(np.full(n, -40.0)),
    }
    write_columns(places, run / "catalogue.parquet", dict.fromkeys(places, "made up"), {})
    images = rng.standard_normal((n, len(bands), 12, 12)).astype(np.float32)
    save_images(run / "images.npz", images, chosen, bands, 0.263, 30.0)
    heading = "id,ra_deg,dec_deg,tile,stage,reason,detail\n"
    (run / "losses_catalogue.csv").write_text(
        heading + "5,180.0,10.0,o0-00001,match,no vhs partner within 1 arcsec,\n"
        "6,,,o0-00001,select,no position,\n"
    )
    (run / "losses_images.csv").write_text(
        heading + '7,181.0,10.0,o0-00001,images,no image,"the service, asked, has none"\n'
    )
    return run


def open_run(run: Path, *, centre: bool = True) -> Index:
    paths = sorted(run.glob("learning/seed-*/features.npz"))
    built = index_from_files(
        paths, run / "catalogue.parquet", seeds=range(1, len(paths) + 1), centre=centre
    )
    graph, objects = run / "learning/index.faiss", run / "learning/index.npz"
    save_index(built, graph, objects)
    return load_index(graph, objects, open_features(paths))


def losses_of(run: Path) -> list[Path]:
    return [run / "losses_catalogue.csv", run / "losses_images.csv"]


def find(run: Path, index: Index, text: str) -> int:
    return find_object(parse_target(text), index, losses_of(run), 2.0)


# ------------------------------------------------------------------------- object asked for


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("870947390", Target(870947390)),
        (str(BIG), Target(BIG)),
        (-3, Target(-3)),
        ("150.1163,2.2058", Target(None, 150.1163, 2.2058)),
        (" 150.1163 , -2 ", Target(None, 150.1163, -2.0)),
        ("150.1163 +2", Target(None, 150.1163, 2.0)),
        ("360,0", Target(None, 0.0, 0.0)),
    ],
)
def test_an_identifier_or_a_position(text: str | int, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither an identifier nor two numbers"),
        ("12.5", "neither an identifier nor two numbers"),
        ("1,2,3", "neither an identifier nor two numbers"),
        ("10:00:00,-5:00:00", "not numbers in degrees"),
        ("nan,0", "right ascension of nan"),
        ("-0.1,0", "right ascension of -0.1 deg is not within 0 and 360"),
        ("360.1,0", "right ascension of 360.1"),
        ("0,-90.5", "declination of -90.5 deg is not within -90 and 90"),
        ("0,inf", "declination of inf"),
        ("9223372036854775808", "more than 64 bits"),
    ],
)
def test_what_names_no_object(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_target(text)


@given(st.floats(0, 360), st.floats(-90, 90))
def test_the_name_of_a_position_is_one_of_a_folder(ra_deg: float, dec_deg: float) -> None:
    name = parse_target(f"{ra_deg!r},{dec_deg!r}").name
    assert set(name) <= set("0123456789.+-")
    assert name[0].isdigit()


def test_the_configuration_takes_one_object_and_refuses_what_is_none() -> None:
    assert shipped_config().target is None
    assert shipped_config(target=None).similar.n == SHOWN
    assert shipped_config().similar.match_radius_arcsec == MATCH_RADIUS_ARCSEC


def test_a_position_meets_the_nearest_object_across_zero_hours(tmp_path: Path) -> None:
    features = made_features(3)
    run = write_run(tmp_path, features, ids=[11, 12, 13], ra_deg=[359.9999, 0.0004, 180.0])
    index = open_run(run)
    assert index.ids[find(run, index, "0.0,-40")] == 11
    assert index.ids[find(run, index, "360,-40")] == 11
    assert index.ids[find(run, index, "0.0003,-40")] == 12


def test_separations() -> None:
    ra_deg, dec_deg = np.array([359.9, 10.0, 0.1]), np.array([0.0, 90.0, 0.0])
    np.testing.assert_allclose(
        separation_arcsec(0.1, 0.0, ra_deg, dec_deg), [720.0, 324000.0, 0.0], atol=1e-6
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", r"lost: stage match, no vhs partner within 1 arcsec \[object 5\]"),
        ("7", r"lost: stage images, no image \(the service, asked, has none\)"),
        (str(BIG + 1), rf"nearest identifiers are {BIG}, {BIG - 10}, {BIG - 20} \["),
        ("1", rf"no such object; the nearest identifiers are {BIG - 50}, "),
        ("181,10", "the object there, 7, was lost: stage images, no image"),
        ("0.004,-40", rf"no object within 2 arcsec; the nearest, {BIG}, is 11\.0 arcsec away"),
        ("200,80", r"the nearest, \d+, is \d+\.\d\d deg away \[position 200\.000000, \+80\.0"),
    ],
)
def test_what_is_not_there(tmp_path: Path, text: str, message: str) -> None:
    run = write_run(tmp_path, made_features(6))
    with pytest.raises(InputError, match=message):
        find(run, open_run(run), text)


def test_an_image_without_content_is_like_nothing_and_nothing_like_it(tmp_path: Path) -> None:
    features = made_features(8)
    features[1][3] = 0.0  # with one seed is enough
    run = write_run(tmp_path, features, ids=range(20, 28))
    index = open_run(run)
    with pytest.raises(DataError, match=r"its image has no content.*\[object 23\]"):
        find(run, index, "23")
    found = nearest_objects(index, find(run, index, "20"), 100)
    assert sorted(index.ids[found.places]) == [21, 22, 24, 25, 26, 27]


# -------------------------------------------------------------------------------- similarity


@pytest.mark.parametrize("centre", [True, False])
def test_similarity_is_the_mean_cosine_of_the_islands(tmp_path: Path, centre: bool) -> None:
    features = made_features(40, seeds=3)
    features[0][5] = features[1][5] = features[2][5] = 0.0
    run = write_run(tmp_path, features)
    index = open_run(run, centre=centre)
    units = [unit_rows(values, centre=centre) for values in features]
    cosines = np.array([unit @ unit[8] for unit in units])
    place = find(run, index, str(BIG - 80))
    found = nearest_objects(index, place, 10)
    order = [row for row in np.argsort(-cosines.mean(axis=0)) if row not in (5, 8)][:10]
    assert [BIG - 10 * row for row in order] == index.ids[found.places].tolist()
    np.testing.assert_allclose(found.similarity, cosines.mean(axis=0)[order], atol=1e-9)
    np.testing.assert_allclose(found.spread, cosines.std(axis=0)[order], atol=1e-9)


def test_inner_products_of_combined_vectors_are_mean_cosines(tmp_path: Path) -> None:
    features = made_features(30, seeds=4)
    run = write_run(tmp_path, features)
    opened = open_features(sorted(run.glob("learning/*/features.npz")))
    directions, content = measure_directions(opened, centre=True)
    assert content.all()
    rows = np.arange(30)
    combined = directions.combined(rows)
    expected = np.mean(directions.cosines(0, rows), axis=0)
    np.testing.assert_allclose(combined @ combined[0], expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(combined, axis=1), 1.0, atol=1e-5)


def test_the_index_finds_what_comparing_all_finds(tmp_path: Path) -> None:
    """Wide enough for principal components to stand for the features."""
    features = made_features(1500, seeds=3, width=64)
    run = write_run(tmp_path, features)
    index = open_run(run)
    assert index.graph.index.d == 128
    hits = 0
    for place in range(0, 1500, 75):
        found = nearest_objects(index, place, 20)
        truth = ranked(index, place, index.places[index.places != place], 20)
        hits += len(np.intersect1d(found.places, truth.places))
    assert hits >= 0.99 * 20 * 20


def test_equal_features_give_equal_bytes(tmp_path: Path) -> None:
    features = made_features(600, seeds=3, width=64)
    runs = [write_run(tmp_path / name, features) for name in ("one", "other")]
    for run in runs:
        open_run(run)
    for name in ("index.faiss", "index.npz"):
        one, other = ((run / "learning" / name).read_bytes() for run in runs)
        assert one == other, name


def test_where_the_graph_does_not_reach_all_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path, made_features(12), ids=range(12))
    index = open_run(run)
    expected = nearest_objects(index, 4, 5)
    monkeypatch.setattr(Index, "propose", lambda self, place, number: np.array([4, 7]))
    found = nearest_objects(index, 4, 5)
    assert found.places.tolist() == expected.places.tolist()
    assert "reaches 1 of 5 objects: all are compared" in caplog.text


def test_duplicates_are_the_nearest_in_order_of_identifiers(tmp_path: Path) -> None:
    features = [np.repeat(values, 5, axis=0) for values in made_features(40)]
    run = write_run(tmp_path, features, ids=range(100, 300))
    index = open_run(run)
    found = nearest_objects(index, find(run, index, "102"), 5)
    assert index.ids[found.places[:4]].tolist() == [100, 101, 103, 104]
    np.testing.assert_allclose(found.similarity[:4], 1.0)
    assert found.similarity[4] < 0.9999


def test_objects_that_are_all_the_same_are_alike_in_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path, [np.repeat(made_features(1)[0], 300, axis=0)] * 2, ids=range(300))
    found = nearest_objects(open_run(run), 0, 20)
    assert found.places.tolist() == list(range(1, 21))
    np.testing.assert_allclose(found.similarity, 0.0, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_objects(tmp_path: Path, n: int, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, made_features(n), ids=[31, 32][:n])
    assert main([str(run), "31"]) == 0
    table = pq.read_table(run / "similar/31/similar.parquet")
    assert table.column("id").to_pylist() == [32][: n - 1]
    assert table.column_names == list(ABOUT)
    said = capsys.readouterr().out
    assert ("no other object has an image with content" in said) == (n == 1)
    assert ("No other object" in (run / "similar/31/similar.html").read_text()) == (n == 1)


def test_no_object_at_all(tmp_path: Path) -> None:
    run = write_run(tmp_path, [np.empty((0, 4), dtype=np.float32)])
    index = open_run(run)
    with pytest.raises(InputError, match="nearest identifiers are none: no object has images"):
        find(run, index, "1")
    with pytest.raises(InputError, match="no object within 2 arcsec; no object has images"):
        find(run, index, "1,1")


# --------------------------------------------------------------------------------- bad files


def test_seeds_of_other_objects_are_refused(tmp_path: Path) -> None:
    features = made_features(5)
    run = write_run(tmp_path, features)
    save_features(run / "learning/seed-2/features.npz", np.arange(5), features[1])
    with pytest.raises(InputError, match="of other objects, or others in number"):
        open_run(run)


def test_seeds_of_fewer_features_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, made_features(5))
    save_features(run / "learning/seed-2/features.npz", np.arange(4), made_features(4)[1])
    with pytest.raises(InputError, match=r"others in number.*seed-2/features\.npz"):
        open_run(run)


@pytest.mark.parametrize("damage", ["absent", "cut"])
def test_damaged_features_are_told(tmp_path: Path, damage: str) -> None:
    run = write_run(tmp_path, made_features(5))
    open_run(run)
    path = run / "learning/seed-2/features.npz"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-100])
    with pytest.raises(InputError, match="cannot read the features"):
        open_features([run / "learning/seed-1/features.npz", path])


def test_an_index_of_other_features_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, made_features(5))
    open_run(run)
    paths = sorted(run.glob("learning/*/features.npz"))
    save_features(paths[0], np.array(BIG - 10 * np.arange(5)), made_features(5)[1])
    with pytest.raises(InputError, match="was made of other features.*delete the index"):
        load_index(run / "learning/index.faiss", run / "learning/index.npz", open_features(paths))


def test_an_index_centred_otherwise_is_refused(tmp_path: Path) -> None:
    index = open_run(write_run(tmp_path, made_features(5)), centre=False)
    with pytest.raises(InputError, match="centre = False, islands.centre is True"):
        check_centre(index, True, "index")


@pytest.mark.parametrize("name", ["index.faiss", "index.npz"])
@pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
def test_a_damaged_index_is_told(tmp_path: Path, name: str, damage: str) -> None:
    run = write_run(tmp_path, made_features(50))
    open_run(run)
    path = run / "learning" / name
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-200], "foreign": b"no index" * 99, "empty": b""}[damage])
    with pytest.raises(InputError, match=f"cannot read the index.*{name}"):
        load_index(
            run / "learning/index.faiss",
            run / "learning/index.npz",
            open_features(sorted(run.glob("learning/*/features.npz"))),
        )


def test_a_catalogue_without_an_object_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, made_features(5))
    few = {"id": pa.array([1]), "ra_deg": pa.array([1.0]), "dec_deg": pa.array([1.0])}
    write_columns(few, run / "catalogue.parquet", dict.fromkeys(few, ""), {})
    with pytest.raises(DataError, match="the catalogue lacks 5 of the 5 objects"):
        open_run(run)


def test_an_object_twice_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, made_features(2), ids=[1, 2])
    for path in run.glob("learning/*/features.npz"):
        save_features(path, np.array([2, 2]), made_features(2)[0])
    with pytest.raises(DataError, match="an object occurs twice"):
        open_run(run)


def test_cutouts_of_other_objects_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path, made_features(4), ids=[1, 2, 3, 4])
    save_images(run / "images.npz", np.ones((4, 3, 8, 8)), [4, 3, 2, 1], "gri", 0.263, 30.0)
    with pytest.raises(InputError, match="the cutouts are of other objects than the features"):
        answer(
            Target(1),
            open_run(run),
            run / "images.npz",
            losses_of(run),
            None,
            number=3,
            match_radius_arcsec=2.0,
        )


# ------------------------------------------------------------------------------- the command


def write_evidence(path: Path, **columns: Any) -> None:
    arrays = {name: pa.array(values) for name, values in columns.items()}
    write_columns(arrays, path, dict.fromkeys(arrays, ""), {})


def test_the_command_prints_and_writes_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, made_features(30), ids=range(100, 130))
    write_evidence(
        run / "islands/islands.parquet",
        id=list(range(100, 130)),
        known_name=["", "Q <1>"] + [""] * 28,
        island=[-1] * 15 + [2] * 15,
    )
    assert main([str(run), "100", "-n", "29"]) == 0
    assert "there is no index yet" in capsys.readouterr().err
    rows = pq.read_table(run / "similar/100/similar.parquet").to_pylist()
    assert [row["rank"] for row in rows] == list(range(1, 30))
    assert sorted(row["id"] for row in rows) == list(range(101, 130))
    by_id = {row["id"]: row for row in rows}
    assert (by_id[101]["known_name"], by_id[101]["island"]) == ("Q <1>", -1)
    assert (by_id[120]["known_name"], by_id[120]["island"]) == ("", 2)
    assert by_id[101]["best_class"] is None
    assert by_id[103]["ra_deg"] == pytest.approx(0.03)
    similarity = [row["similarity"] for row in rows]
    assert similarity == sorted(similarity, reverse=True)
    with (run / "similar/100/similar.csv").open(newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [int(row["id"]) for row in written] == [row["id"] for row in rows]
    assert float(written[0]["similarity"]) == rows[0]["similarity"]
    page = (run / "similar/100/similar.html").read_text()
    assert page.count("data:image/png;base64,") == 30
    assert "Q &lt;1&gt;" in page
    assert "Q <1>" not in page
    # By position, from the index that is there by now, with classes.
    write_evidence(
        run / "candidates.parquet",
        id=list(range(129, 99, -1)),
        known_name=pa.array([None] * 30, pa.string()),
        island=pa.array([float("nan")] * 30),
        best_class=["star"] * 30,
    )
    assert main([str(run), "0,-40"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("like 100 at 0.000000, -40.000000 (star)\n")
    rows = pq.read_table(run / "similar/0.000000-40.000000/similar.parquet").to_pylist()
    assert len(rows) == SHOWN
    assert {(row["best_class"], row["island"]) for row in rows} == {("star", None)}


def test_each_column_is_described_with_its_unit(tmp_path: Path) -> None:
    run = write_run(tmp_path, made_features(3), ids=[1, 2, 3])
    assert main([str(run), "1"]) == 0
    schema = pq.read_schema(run / "similar/1/similar.parquet")
    assert all(field.metadata[b"description"] for field in schema)
    assert schema.field("ra_deg").metadata[b"unit"] == b"deg"


def test_a_picture_where_there_are_too_few_bands_for_colours(tmp_path: Path) -> None:
    run = write_run(tmp_path, made_features(3), ids=[1, 2, 3], bands=["i"])
    assert main([str(run), "1"]) == 0
    assert (run / "similar/1/similar.html").read_text().count("data:image/png") == 3


@pytest.mark.parametrize(
    ("target", "message"),
    [("5", "the object was lost: stage match"), ("a,b", "names no object: not numbers")],
)
def test_the_command_tells_what_is_wrong_and_writes_nothing(
    tmp_path: Path, target: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, made_features(4))
    assert main([str(run), target]) == 1
    assert message in capsys.readouterr().err
    assert not (run / "similar").exists()


def test_a_folder_that_is_no_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere"), "1"]) == 1
    assert "no features there" in capsys.readouterr().err


def test_the_record_says_what_the_index_is_of(tmp_path: Path) -> None:
    index = open_run(write_run(tmp_path, made_features(9)))
    record = json.loads(json.dumps(index.record))
    assert (record["n_objects"], record["n_content"], record["seeds"]) == (9, 9, [1, 2])
    assert record["library"].startswith("faiss 1.")
    assert neighbours._PROPOSED * SHOWN == 200


def test_the_command_loads_nothing_slow() -> None:
    check = (
        "import sys, archipelago.similar.__main__\n"
        "print(sorted({'astropy', 'matplotlib', 'pandas', 'pydantic', 'scipy', 'torch'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_measurement_on_a_small_search(tmp_path: Path) -> None:
    make_search(tmp_path, 300, with_images=True)
    measured = measure_size(tmp_path, n_queries=15, n_exact=1)
    assert measured.n_objects == 300
    assert measured.recall >= 0.95
    assert measured.graph_mb > 0.1
    taken, work_s = time_command(tmp_path, repeats=1)
    assert len(taken) == 1
    assert work_s > 0


def test_the_true_nearest_are_those_of_comparing_one_by_one(tmp_path: Path) -> None:
    index = open_run(write_run(tmp_path, made_features(60)))
    queries = np.array([0, 17, 59])
    for query, found in zip(queries, true_nearest(index, queries, 7), strict=True):
        others = index.places[index.places != query]
        assert found.tolist() == ranked(index, int(query), others, 7).places.tolist()


def test_the_folder_of_an_object_and_the_evidence_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = Search(shipped_config(target="10.5, -3"), tmp_path, [])
    assert search.similar_folder == "similar/10.500000-3.000000"
    assert search.evidence_so_far == []
    for name in ("islands/islands.parquet", "candidates.parquet"):
        path = tmp_path / search.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert search.evidence_so_far == [search.path(name)]
        assert find_evidence(tmp_path / search.path("")) == path


@pytest.mark.parametrize("target", [12.5, True, "a,b", "400,1"])
def test_the_configuration_refuses_what_names_no_object(target: object) -> None:
    with pytest.raises(ConfigError, match=r"target = .* names no object"):
        shipped_config(target=target)
