"""The embedded services, on loopback: TAP, TAPVizieR, X-Match, SIA and its cutouts.

They answer as the services that a real search asks: Astro Data Lab (TAP 1.1, UWS 1.1, SIA 1.0
and cutouts) and CDS (X-Match, TAPVizieR), with their oddities, from the tables and the painter
of a `Sky`. Clients need nothing but other addresses.

=============================  ============================================================
path                           what answers
=============================  ============================================================
``/tap``                       TAP with the table ``des_dr2.mag``
``/tapvizier/tap``             TAP with the VizieR tables (quote their names)
``/xmatch/api/v1/sync``        X-Match of an uploaded table with a VizieR table
``/sia/des_dr2``               SIA v1: 33 rows per survey tile
``/svc/cutout``                FITS cutouts that the rows of SIA point to
``/control/counters``          requests so far per endpoint (JSON); not counted, never faulty
``/control/faults``            POST a plan of faults (JSON), see `archipelago.demosky.faults`
=============================  ============================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import ipaddress
import json
import math
import re
import socket
import struct
import threading
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pandas as pd
from aiohttp import web
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from archipelago.base.errors import ArchipelagoError, ConfigError, InputError
from archipelago.demosky import votable
from archipelago.demosky.adql import AdqlDatabase
from archipelago.demosky.faults import FaultPlan, FaultRule
from archipelago.demosky.images import ZERO_POINT_AB, Painter, Plane
from archipelago.demosky.sky import IMAGE_BANDS, Sky
from archipelago.demosky.survey_tiles import (
    PIXEL_SCALE_ARCSEC,
    TILE_SIZE_PX,
    SurveyTile,
)
from archipelago.demosky.tap_schema import table_set, with_tap_schema

#: Rows of a TAP answer where no MAXREC is asked for.
DEFAULT_MAXREC = 2_000
#: Rows that no answer exceeds.
MOST_ROWS = 2_000_000
#: Bytes of an upload (X-Match: 100 MB).
UPLOAD_LIMIT_BYTES = 100_000_000
#: Largest distance of an X-Match (arcsec).
MATCH_LIMIT_ARCSEC = 180.0
#: Pixels along a side that a cutout may have.
CUTOUT_LIMIT_PX = 2_000
#: X-Match jobs at once from which on the answer is 403.
XMATCH_PARALLEL = 5

#: The VizieR tables, and the fields of `Sky` that hold them.
VIZIER_TABLES = {
    "II/328/allwise": "allwise",
    "II/363/unwise": "unwise",
    "II/367/vhs_dr5": "vhs",
    "VII/294/catalog": "milliquas",
}
DES_TABLE = "des_dr2.mag"

#: FILTER as DECam headers spell it; SIA gives this or the bare letter, from tile to tile.
FILTER_NAMES = {
    "g": "g DECam SDSS c0001 4720.0 1520.0",
    "r": "r DECam SDSS c0002 6415.0 1480.0",
    "i": "i DECam SDSS c0003 7835.0 1470.0",
    "z": "z DECam SDSS c0004 9260.0 1520.0",
    "Y": "Y DECam c0005 10095.0 1130.0",
    "det": "riz",
}
_BAND_LIMITS = {
    "g": (3960, 5480), "r": (5675, 7155), "i": (7100, 8570), "z": (8500, 10020),
    "Y": (9530, 10660), "det": (5675, 10020),
}  # fmt: skip

# Columns of the SIA reply as a server of the same software gave them:
# name|datatype|arraysize|ucd|unit|utype
_SIA_FIELDS = (
    "assoc_id|char|*|||im:Association.ID",
    "access_url|char|*|VOX:Image_AccessReference||im:Access.Reference",
    "access_format|char|*|VOX:Image_Format||im:Access.Format",
    "access_estsize|int||VOX:Image_FileSize|bytes|im:Access.Size",
    "dataproduct_type|char|*|||im:Dataset.Type",
    "dataproduct_subtype|char|*|||im:Dataset.Subtype",
    "calib_level|long||||im:Dataset.CalibLevel",
    "dataset_length|long||meta.number||im:Dataset.Length",
    "im_nsubarrays|int||meta.number||im:Image.Nsubarrays",
    "im_naxes|int||VOX:Image_Naxes||im:Image.Naxes",
    "im_naxis|int|*|VOX:Image_Naxis||im:Image.Naxis",
    "im_pixtype|char|*|||im:Image.Pixtype",
    "im_wcsaxes|char|*|||im:Image.WCSAxes",
    "im_scale|double|*|VOX:Image_Scale|deg|im:Image.Scale",
    "obs_title|char|*|VOX:Image_Title||im:DataID.Title",
    "obs_id|char|*|||im:DataID.ObservationID",
    "obs_creator_name|char|*|meta.curation||im:DataID.Creator",
    "obs_collection|char|*|||im:DataID.Collection",
    "obs_creation_type|char|*|||im:DataID.CreationType",
    "obs_creation_date|char|*|time.epoch;meta.dataset||im:DataID.Date",
    "facility_name|char|1|||im:Provenance.ObsConfig.Facility.name",
    "instrument_name|char|*|INST_ID||im:Provenance.ObsConfig.Instrument.name",
    "obs_bandpass|char|*|VOX:BandPass_ID||im:Provenance.ObsConfig.Bandpass",
    "obs_datasource|char|*|||im:Provenance.ObsConfig.DataSource",
    "proposal_id|char|*|||im:Provenance.Proposal.Identifier",
    "obs_publisher_did|char|*|meta.ref.url;meta.curation||im:Curation.PublisherDID",
    "obs_release_date|char|*|||im:Curation.ReleaseDate",
    "preview|char|*|meta.ref.url||im:Curation.Preview",
    "target_name|char|*|meta.id;src||im:Target.Name",
    "target_class|char|*|src.class||im:Target.Class",
    "s_ra|double||POS_EQ_RA_MAIN|deg|im:Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1",
    "s_dec|double||POS_EQ_DEC_MAIN|deg|im:Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C2",
    "s_fov|double||pos.AngSize;instr.fov|deg|im:Char.SpatialAxis.Coverage.Bounds.Extent.Diameter",
    "s_region|char|*||deg|im:Char.SpatialAxis.Coverage.Support.Area",
    "s_calib_status|char|*|meta.code.qual||im:Char.SpatialAxis.CalibrationStatus",
    "s_resolution|double||pos.angResolution|arcsec|im:Char.SpatialAxis.Resolution.Refval.Value",
    "em_min|double||VOX:BandPass_LoLimit|m|im:Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit",
    "em_max|double||VOX:BandPass_HiLimit|m|im:Char.SpectralAxis.Coverage.Bounds.Limits.HiLimit",
    "em_resolution|double||spect.resolution;em.wl|m|im:Char.SpectralAxis.Resolution.RefVal.value",
    "em_res_power|double||spect.resolution||im:Char.SpectralAxis.Resolution.ResolPower.RefVal",
    "t_min|double||time.start;obs.exposure|d|im:Char.TimeAxis.Coverage.Bounds.Limits.StartTime",
    "t_max|double||time.stop;obs.exposure|d|im:Char.TimeAxis.Coverage.Bounds.Limits.StopTime",
    "t_exptime|double||time.duration;obs.exposure|s|im:Char.TimeAxis.Coverage.Support.Extent",
    "t_resolution|double||time.resolution|s|im:Char.TimeAxis.Resolution.RefVal.value",
    "o_ucd|char|*|meta.ucd||im:Char.ObservableAxis.UCD",
    "o_unit|char|*|meta.unit||im:Char.ObservableAxis.Unit",
    "pol_states|char|*|meta.code;phys.polarization;meta.fits||im:Char.PolAxis.StateList",
    "object|char|*|||",
    "airmass|char|*|||",
    "project_code|char|*|||",
    "magzero|char|*|||",
    "prodtype|char|*|||",
    "seeing|char|*|||",
    "fwhm|char|*|||",
    "file_set_id|char|*|meta.id||",
    "exptime|char|*|||",
    "photflag|char|*|||",
    "proctype|char|*|||",
    "date_obs|char|*|||",
    "mjd_obs|char|*|||",
    "elliptic|char|*|||",
)
_PRODUCTS: tuple[tuple[str, Plane], ...] = (
    ("image", "image"),
    ("dqmask", "mask"),
    ("wtmap", "weight"),
)
_FILE = re.compile(
    r"(?P<tile>DES\d{4}[+-]\d{4})_(?P<run>r\d+p\d+)_(?P<band>[grizY]|det)(?P<nobkg>_nobkg)?"
    r"\.fits\.fz"
)


@dataclass(frozen=True)
class Reply:
    """An answer before any fault: status, body, media type, further headers, sent in chunks."""

    body: bytes
    media_type: str = votable.MEDIA_TYPE
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False


# --- TAP ----------------------------------------------------------------------------------


@dataclass
class _Job:
    """A UWS job."""

    name: str
    parameters: dict[str, str]
    phase: str = "PENDING"
    reply: Reply | None = None
    error: str = ""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class TapService:
    """One TAP service: sync, async by UWS, and VOSI.

    Parameters
    ----------
    path : where it lies on the server, without a slash at the end.
    tables : name, as queries spell it without quotes, to rows.
    """

    def __init__(self, path: str, tables: Mapping[str, pd.DataFrame]) -> None:
        self.path = path
        self._database = AdqlDatabase(with_tap_schema(tables))
        self._jobs: dict[str, _Job] = {}
        self._number = 0

    def query(self, parameters: Mapping[str, str]) -> Reply:
        """Answer a query; errors come as HTTP 200 with QUERY_STATUS = ERROR."""
        try:
            return self._query(parameters)
        except InputError as error:
            return Reply(votable.write_error(error.what))

    def _query(self, parameters: Mapping[str, str]) -> Reply:
        if parameters.get("REQUEST", "doQuery") != "doQuery":
            raise InputError("REQUEST must be doQuery")
        language = parameters.get("LANG", "ADQL").upper()
        if not language.startswith("ADQL"):
            raise InputError(f"LANG {language} is not supported; use ADQL")
        if "QUERY" not in parameters:
            raise InputError("QUERY is missing")
        if "UPLOAD" in parameters:
            raise InputError("UPLOAD is not supported")
        text = parameters.get("MAXREC", str(DEFAULT_MAXREC))
        if not text.isdigit():
            raise InputError(f"MAXREC {text!r} is no whole number")
        answer = self._database.query(parameters["QUERY"], min(int(text), MOST_ROWS))
        wanted = parameters.get("RESPONSEFORMAT", parameters.get("FORMAT", "votable")).lower()
        if wanted in ("csv", "text/csv"):
            return Reply(answer.table.to_csv(index=False).encode(), "text/csv")
        if "votable" not in wanted:
            raise InputError(f"RESPONSEFORMAT {wanted} is not supported; use votable or csv")
        return Reply(votable.write_votable(answer.table, overflow=answer.overflow))

    async def answer(
        self, method: str, tail: str, parameters: dict[str, str], base_url: str
    ) -> Reply:
        """Answer a request; ``tail`` is the path below the service."""
        parts = [part for part in tail.split("/") if part]
        if parts == ["sync"]:
            return await asyncio.to_thread(self.query, parameters)
        if parts and parts[0] == "async":
            return await self._uws(method, parts[1:], parameters, f"{base_url}{self.path}/async")
        document = {
            "availability": self._availability,
            "capabilities": lambda: self._capabilities(f"{base_url}{self.path}"),
            "tables": lambda: table_set(self._database.tables),
        }.get("/".join(parts))
        if document is None:
            return Reply(b"Not found\n", "text/plain", 404)
        return Reply(document().encode(), "text/xml")

    # -- UWS 1.1 --

    async def _uws(
        self, method: str, parts: list[str], parameters: dict[str, str], url: str
    ) -> Reply:
        if not parts:
            if method != "POST":
                return Reply(self._job_list(url).encode(), "text/xml")
            self._number += 1
            phase = parameters.pop("PHASE", "")
            job = _Job(f"job{self._number:06d}", parameters)
            self._jobs[job.name] = job
            if phase == "RUN":
                self._start(job)
            return _see_other(f"{url}/{job.name}")
        job_or_none = self._jobs.get(parts[0])
        if job_or_none is None:
            return Reply(b"No such job\n", "text/plain", 404)
        job, tail = job_or_none, "/".join(parts[1:])
        if method == "DELETE" or (method == "POST" and parameters.get("ACTION") == "DELETE"):
            self._stop(job)
            del self._jobs[job.name]
            return _see_other(url)
        if method == "POST":
            return self._change(job, tail, parameters, url)
        if not tail:
            await self._wait(job, parameters.get("WAIT"))
        return self._show(job, tail, url)

    def _change(self, job: _Job, tail: str, parameters: dict[str, str], url: str) -> Reply:
        phase = parameters.get("PHASE", "")
        if tail == "phase" and phase == "RUN":
            self._start(job)
        elif tail == "phase" and phase == "ABORT":
            self._stop(job)
        elif tail in ("", "parameters"):
            if job.phase != "PENDING":
                return Reply(b"The job has started\n", "text/plain", 403)
            job.parameters.update(parameters)
        elif tail not in ("executionduration", "destruction"):
            return Reply(b"Not understood\n", "text/plain", 400)
        return _see_other(f"{url}/{job.name}")

    def _start(self, job: _Job) -> None:
        if job.phase == "PENDING":
            job.phase = "QUEUED"
            job.task = asyncio.get_running_loop().create_task(self._run(job))

    async def _run(self, job: _Job) -> None:
        job.phase = "EXECUTING"
        try:
            job.reply = await asyncio.to_thread(self._query, job.parameters)
            job.phase = "COMPLETED"
        except InputError as error:
            job.error, job.phase = error.what, "ERROR"
        finally:
            job.done.set()

    def _stop(self, job: _Job) -> None:
        if job.phase in ("PENDING", "QUEUED", "EXECUTING"):
            job.phase = "ABORTED"
            if job.task is not None:
                job.task.cancel()
            job.done.set()

    async def _wait(self, job: _Job, wait: str | None) -> None:
        if wait is None or job.phase not in ("QUEUED", "EXECUTING"):
            return
        seconds = float(wait) if re.fullmatch(r"-?\d+", wait) else 0.0
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(job.done.wait(), 60.0 if seconds < 0 else min(seconds, 60.0))

    def _show(self, job: _Job, tail: str, url: str) -> Reply:
        if tail in ("results/result", "error"):
            if tail == "error" and job.phase == "ERROR":
                return Reply(votable.write_error(job.error))
            if tail == "results/result" and job.reply is not None:
                return job.reply
            return Reply(b"There is none\n", "text/plain", 404)
        texts = {
            "phase": job.phase,
            "executionduration": "600",
            "destruction": _tomorrow(),
            "quote": "",
            "owner": "",
        }
        if tail in texts:
            return Reply(texts[tail].encode(), "text/plain")
        if tail == "parameters":
            return Reply(_uws_document("parameters", _uws_parameters(job)).encode(), "text/xml")
        if tail == "results":
            results = _uws_results(job, f"{url}/{job.name}")
            return Reply(_uws_document("results", results).encode(), "text/xml")
        if tail:
            return Reply(b"Not found\n", "text/plain", 404)
        error = ""
        if job.phase == "ERROR":
            error = (
                '<uws:errorSummary type="fatal" hasDetail="true">'
                f"<uws:message>{escape(job.error)}</uws:message></uws:errorSummary>"
            )
        content = (
            f"<uws:jobId>{job.name}</uws:jobId><uws:ownerId xsi:nil='true'/>"
            f"<uws:phase>{job.phase}</uws:phase><uws:quote xsi:nil='true'/>"
            "<uws:startTime xsi:nil='true'/><uws:endTime xsi:nil='true'/>"
            "<uws:executionDuration>600</uws:executionDuration>"
            f"<uws:destruction>{_tomorrow()}</uws:destruction>"
            f"<uws:parameters>{_uws_parameters(job)}</uws:parameters>"
            f"<uws:results>{_uws_results(job, f'{url}/{job.name}')}</uws:results>{error}"
        )
        return Reply(_uws_document("job", content).encode(), "text/xml")

    def _job_list(self, url: str) -> str:
        entries = "".join(
            f'<uws:jobref id="{job.name}" xlink:href={quoteattr(f"{url}/{job.name}")}>'
            f"<uws:phase>{job.phase}</uws:phase></uws:jobref>"
            for job in self._jobs.values()
        )
        return _uws_document("jobs", entries)

    # -- VOSI --

    def _availability(self) -> str:
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n'
            '<vosi:availability xmlns:vosi="http://www.ivoa.net/xml/VOSIAvailability/v1.0">'
            "<vosi:available>true</vosi:available></vosi:availability>\n"
        )

    def _capabilities(self, url: str) -> str:
        interfaces = "".join(
            f'<capability standardID="ivo://ivoa.net/std/VOSI#{name}">'
            '<interface xsi:type="vs:ParamHTTP">'
            f'<accessURL use="full">{url}/{name}</accessURL></interface></capability>'
            for name in ("availability", "capabilities", "tables")
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n'
            '<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" '
            'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" '
            'xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            '<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">'
            '<interface role="std" version="1.1" xsi:type="vs:ParamHTTP">'
            f'<accessURL use="base">{url}</accessURL></interface>'
            "<language><name>ADQL</name>"
            '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version></language>'
            "<outputFormat><mime>application/x-votable+xml</mime><alias>votable</alias>"
            "</outputFormat><outputFormat><mime>text/csv</mime><alias>csv</alias></outputFormat>"
            f'<outputLimit><default unit="row">{DEFAULT_MAXREC}</default>'
            f'<hard unit="row">{MOST_ROWS}</hard></outputLimit></capability>'
            f"{interfaces}</vosi:capabilities>\n"
        )


def _tomorrow() -> str:
    """Return when jobs end, which UWS wants said: a day from now."""
    return f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%S.000Z}"


def _see_other(url: str) -> Reply:
    return Reply(b"", "text/plain", 303, {"Location": url})


def _uws_document(root: str, content: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<uws:{root} version="1.1" xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">{content}</uws:{root}>\n'
    )


def _uws_parameters(job: _Job) -> str:
    return "".join(
        f"<uws:parameter id={quoteattr(name)}>{escape(value)}</uws:parameter>"
        for name, value in job.parameters.items()
    )


def _uws_results(job: _Job, url: str) -> str:
    if job.phase != "COMPLETED":
        return ""
    return f'<uws:result id="result" xlink:href={quoteattr(url + "/results/result")}/>'


# --- X-Match ------------------------------------------------------------------------------


class XMatchService:
    """Cross-match of an uploaded table with the VizieR tables.

    Parameters
    ----------
    tables : VizieR name to rows, with RAJ2000 and DEJ2000 in degrees.
    """

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self._tables = {
            name: (frame, cKDTree(_unit_vectors(frame["RAJ2000"], frame["DEJ2000"])))
            for name, frame in tables.items()
            if {"RAJ2000", "DEJ2000"} <= set(frame.columns)
        }

    def table_names(self) -> Reply:
        """Return the names of the tables, one per line."""
        return Reply(("\n".join(sorted(self._tables)) + "\n").encode(), "text/plain")

    def match(self, parameters: Mapping[str, str], upload: bytes | None) -> Reply:
        """Answer a request; errors come as HTTP 400 with a VOTable, as the CDS sends them."""
        try:
            return self._match(parameters, upload)
        except InputError as error:
            return Reply(votable.write_error(str(error)), status=400)

    def _match(self, parameters: Mapping[str, str], upload: bytes | None) -> Reply:
        if parameters.get("REQUEST") != "xmatch":
            raise InputError("request must be xmatch")
        name = parameters.get("CAT2", "")
        if not name.startswith("vizier:") or name[7:] not in self._tables:
            raise InputError(f"cat2 {name!r} is not available")
        if upload is None:
            raise InputError("cat1 must be an uploaded table")
        try:
            distance_arcsec = float(parameters.get("DISTMAXARCSEC", ""))
        except ValueError as error:
            raise InputError("distMaxArcsec must be a number") from error
        if not 0.0 <= distance_arcsec <= MATCH_LIMIT_ARCSEC:
            raise InputError(f"distMaxArcsec must be 0 to {MATCH_LIMIT_ARCSEC:g}")
        selection = parameters.get("SELECTION", "all")
        if selection not in ("all", "best"):
            raise InputError("selection must be all or best")
        place = [parameters.get(key, "") for key in ("COLRA1", "COLDEC1")]
        uploaded = votable.read_upload(upload, position=place)
        other, tree = self._tables[name[7:]]
        vectors = _unit_vectors(uploaded[place[0]], uploaded[place[1]])
        chord = 2.0 * math.sin(math.radians(distance_arcsec / 3600.0) / 2.0)
        rows, partners = _pairs(vectors, tree, chord, best=selection == "best")
        limit = parameters.get("MAXREC", str(MOST_ROWS))
        most = min(int(limit), MOST_ROWS) if limit.isdigit() else MOST_ROWS
        overflow = len(rows) > most
        rows, partners = rows[:most], partners[:most]
        separation = np.linalg.norm(vectors[rows] - tree.data[partners], axis=1)
        arcsec = np.degrees(2.0 * np.arcsin(separation / 2.0)) * 3600.0
        left = uploaded.iloc[rows].reset_index(drop=True)
        right = other.iloc[partners].reset_index(drop=True)
        right.columns = [
            f"{column}_2" if column in left.columns else column for column in right.columns
        ]
        distance = pd.Series(np.round(arcsec, 6), name="angDist")
        table = pd.concat([distance, left, right], axis=1)
        wanted = parameters.get("RESPONSEFORMAT", "votable").lower()
        if wanted == "csv":
            return Reply(table.to_csv(index=False).encode(), "text/csv")
        return Reply(votable.write_votable(table, overflow=overflow))


def _unit_vectors(ra_deg: pd.Series, dec_deg: pd.Series) -> NDArray[np.float64]:
    ra, dec = np.radians(ra_deg.to_numpy(float)), np.radians(dec_deg.to_numpy(float))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _pairs(
    vectors: NDArray[np.float64], tree: cKDTree, chord: float, *, best: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of the upload and of the other table that match, nearest first in each row.

    Positions that are no numbers match nothing.
    """
    finite = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    rows: list[int] = []
    partners: list[int] = []
    found = tree.query_ball_point(vectors[finite], chord) if tree.n else []
    for row, near in zip(finite.tolist(), found, strict=False):
        if near:
            distance = np.linalg.norm(tree.data[near] - vectors[row], axis=1)
            order = np.lexsort((near, distance))[: 1 if best else None]
            rows.extend([row] * len(order))
            partners.extend(near[k] for k in order)
    return np.array(rows, dtype=np.int64), np.array(partners, dtype=np.int64)


# --- images -------------------------------------------------------------------------------


class ImageService:
    """SIA v1 and the cutouts that its rows point to.

    Parameters
    ----------
    painter : paints the pixels.
    """

    def __init__(self, painter: Painter) -> None:
        self._painter = painter

    def sia(
        self, parameters: Mapping[str, str], base_url: str, missing: tuple[str, ...] = ()
    ) -> Reply:
        """Answer an SIA query: 33 rows for each survey tile whose bounding box holds POS.

        Parameters
        ----------
        parameters : POS (deg, "ra,dec"), SIZE (deg, one or two), FORMAT; names in capitals.
        base_url : of this server, for the access URLs.
        missing : bands whose rows are left out.
        """
        pos, size = parameters.get("POS", ""), parameters.get("SIZE", "1.0")
        try:
            ra, dec = _numbers(pos, 2)
            _numbers(size, 1, 2)
        except ValueError:
            return Reply(votable.write_error("POS must be ra,dec and SIZE one or two numbers"))
        rows: list[tuple[str, str]] = []
        if parameters.get("FORMAT", "ALL").upper() != "METADATA":
            for tile in self._painter.tiles.with_box_around(ra, dec):
                rows.extend(self._rows(tile, pos, size, base_url, missing))
        # The real order follows no rule; this one follows none that helps a client.
        rows.sort(key=lambda row: hashlib.blake2b(row[0].encode()).digest())
        fields = []
        for text in _SIA_FIELDS:
            name, datatype, arraysize, ucd, unit, utype = text.split("|")
            optional = (("arraysize", arraysize), ("ucd", ucd), ("unit", unit), ("utype", utype))
            attributes = "".join(f" {key}={quoteattr(value)}" for key, value in optional if value)
            # One column's name differs from its ID in the real reply.
            spelt = name.replace("file_set", "fileset")
            fields.append(f'<FIELD ID="{name}" name="{spelt}" datatype="{datatype}"{attributes}/>')
        body = (
            '<?xml version="1.0" encoding="utf-8"?>\n'
            '<VOTABLE version="1.2" xmlns="http://www.ivoa.net/xml/VOTable/v1.2">\n'
            '<RESOURCE type="results">\n'
            "<DESCRIPTION>DALServer SIAP Version 1.0 (generic)</DESCRIPTION>\n"
            '<INFO ID="QUERY_STATUS" name="QUERY_STATUS" value="OK"/>\n'
            f'<INFO ID="INPUT_POS" name="INPUT:POS" value={quoteattr(pos)}/>\n'
            f'<INFO ID="INPUT_SIZE" name="INPUT:SIZE" value={quoteattr(size)}/>\n'
            f'<INFO ID="TableRows" name="TableRows" value="{len(rows)}"/>\n'
            f'<TABLE nrows="{len(rows)}">\n'
            + "\n".join(fields)
            + "\n<DATA>\n<TABLEDATA>\n"
            + "".join(row for _, row in rows)
            + "</TABLEDATA>\n</DATA>\n</TABLE>\n</RESOURCE>\n</VOTABLE>\n"
        )
        return Reply(body.encode(), "text/xml")

    def _rows(
        self, tile: SurveyTile, pos: str, size: str, base_url: str, missing: tuple[str, ...]
    ) -> list[tuple[str, str]]:
        """Return key and XML of a tile's rows: five bands, twice, and detection; 3 planes each."""
        files = [(band, suffix) for band in IMAGE_BANDS for suffix in ("", "_nobkg")]
        bare = int(tile.run[1:5]) % 2 == 0
        width = tile.x_range[1] - tile.x_range[0]
        height = tile.y_range[1] - tile.y_range[0]
        rows = []
        for band, suffix in [*files, ("det", "")]:
            if band in missing:
                continue
            file = f"{tile.name}_{tile.run}_{band}{suffix}.fits.fz"
            low, high = _BAND_LIMITS[band]
            for number, (product, _) in enumerate(_PRODUCTS, start=1):
                url = (
                    f"{base_url}/svc/cutout?col=des_dr2&siaRef={file}&extn={number}"
                    f"&POS={pos}&SIZE={size}"
                )
                values = {
                    "assoc_id": f"{tile.name}_{tile.run}",
                    "access_url": url,
                    "access_format": "image/fits",
                    "access_estsize": "112500",
                    "calib_level": "2",
                    "dataset_length": "0",
                    "im_nsubarrays": "0",
                    "im_naxes": "2",
                    "im_naxis": f"{width} {height}",
                    "im_scale": f"-{PIXEL_SCALE_ARCSEC}",
                    "obs_id": f"{tile.name}_{tile.run}",
                    "obs_collection": "DES DR2",
                    "obs_creation_type": "archival",
                    "instrument_name": "DECam",
                    "obs_bandpass": band if bare and band != "det" else FILTER_NAMES[band],
                    "obs_publisher_did": (
                        f"ivo://datalab.noirlab/vo#ivoa_des_dr2.siav1:ivo://datalab.noao//{file}"
                    ),
                    "preview": f"{url}&preview=true",
                    "s_ra": f"{tile.ra_deg:.6g}",
                    "s_dec": f"{tile.dec_deg:.6g}",
                    "em_min": str(low),
                    "em_max": str(high),
                    "object": tile.name,
                    "airmass": "1",
                    "project_code": "2012B-0001",
                    "magzero": f"{ZERO_POINT_AB:g}",
                    "prodtype": product,
                    "seeing": "0",
                    "fwhm": "0",
                    "exptime": "450" if band == "Y" else "900",
                    "proctype": "Stack",
                    "date_obs": "2018-10-30T00:00:00",
                    "mjd_obs": "58421.0",
                    "elliptic": "0",
                }
                cells = "".join(
                    f"<TD>{escape(values[name])}</TD>" if name in values else "<TD/>"
                    for name in _SIA_NAMES
                )
                rows.append((url.replace(base_url, ""), f"<TR>{cells}</TR>\n"))
        return rows

    def cutout(self, query: str, *, other_band: bool = False) -> Reply:
        """Answer a cutout request.

        Parameters
        ----------
        query : the query string as it came, still encoded: ``%2B`` in ``siaRef`` is an error of
            the real service, and a plus sign stands for itself.
        other_band : give the image of another band, as a confused server would.
        """
        parameters = dict(part.partition("=")[::2] for part in query.split("&"))
        try:
            if "%2B" in parameters.get("siaRef", "").upper():
                raise InputError("the file is not there")
            tile, band, nobkg = self._file(unquote(parameters.get("siaRef", "")))
            if parameters.get("col") != "des_dr2":
                raise InputError("col must be des_dr2")
            extension = int(parameters.get("extn", ""))
            plane = _PRODUCTS[extension - 1][1] if 1 <= extension <= 3 else None
            if plane is None:
                raise InputError("extn must be 1, 2 or 3")
            ra, dec = _numbers(unquote(parameters.get("POS", "")), 2)
            size = _numbers(unquote(parameters.get("SIZE", "")), 1, 2)
            x, y = (float(value) for value in tile.pixel_of(ra, dec))
            x0, width = _first_and_count(x, size[0])
            y0, height = _first_and_count(y, size[-1])
            if max(width, height) > CUTOUT_LIMIT_PX:
                raise InputError(f"SIZE is more than {CUTOUT_LIMIT_PX} px")
        except (InputError, ValueError):
            return Reply(traceback.format_exc().encode(), "text/plain", 500)
        x1, y1 = min(x0 + width, tile.x_range[1]), min(y0 + height, tile.y_range[1])
        x0, y0 = max(x0, tile.x_range[0]), max(y0, tile.y_range[0])
        if x0 >= x1 or y0 >= y1:
            # The bounding box holds the position, but no pixel does.
            return Reply(fits_file(None, {}), "image/fits", chunked=True)
        painted = IMAGE_BANDS[(IMAGE_BANDS.index(band) + 2) % 5] if other_band else band
        pixels = self._painter.cutout(
            tile, painted, x0, y0, x1 - x0, y1 - y0, plane=plane, sky_left_in=nobkg
        )
        header = cutout_header(tile, painted, x0, y0)
        return Reply(fits_file(pixels, header), "image/fits", chunked=True)

    def _file(self, name: str) -> tuple[SurveyTile, str, bool]:
        match = _FILE.fullmatch(name)
        tile = self._painter.tiles.by_name.get(match["tile"]) if match else None
        if match is None or tile is None or tile.run != match["run"]:
            raise InputError(f"no file {name!r}")
        if match["band"] == "det" and match["nobkg"]:
            raise InputError(f"no file {name!r}")
        return tile, match["band"], match["nobkg"] is not None


_SIA_NAMES = tuple(text.split("|")[0] for text in _SIA_FIELDS)


def _numbers(text: str, *counts: int) -> list[float]:
    """Return the finite numbers of "a,b"; raises ValueError unless there are as many as wanted."""
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) not in counts or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{text!r} has not {counts} numbers")
    return numbers


def _first_and_count(centre_px: float, size_deg: float) -> tuple[int, int]:
    """Return first pixel and number of those that a span touches; SIZE is a true angle."""
    half = abs(size_deg) * 3600.0 / PIXEL_SCALE_ARCSEC / 2.0
    if not math.isfinite(centre_px) or half > TILE_SIZE_PX:
        raise ValueError("the cutout lies nowhere near the tile")
    first = math.floor(centre_px - half + 0.5)
    return first, math.floor(centre_px + half + 0.5) - first + 1


def cutout_header(tile: SurveyTile, band: str, x0: int, y0: int) -> dict[str, object]:
    """Return the FITS header of a cutout whose first pixel is (x0, y0) of a tile.

    The WCS is the tile's TAN projection [Calabretta & Greisen 2002, A&A 395, 1077].
    """
    degrees = PIXEL_SCALE_ARCSEC / 3600.0
    centre = (TILE_SIZE_PX + 1) / 2.0
    return {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRVAL1": tile.ra_deg,
        "CRVAL2": tile.dec_deg,
        "CRPIX1": centre - x0,
        "CRPIX2": centre - y0,
        "CD1_1": -degrees,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": degrees,
        "RADESYS": "ICRS",
        "EQUINOX": 2000.0,
        "OBJECT": tile.name,
        "FILTER": FILTER_NAMES[band],
        "BAND": band,
        "MAGZERO": ZERO_POINT_AB,
        "TELESCOP": "CTIO 4.0-m telescope",
        "INSTRUME": "DECam",
    }


def fits_file(
    pixels: NDArray[np.float32] | NDArray[np.int32] | None, header: Mapping[str, object]
) -> bytes:
    """Return a FITS file with one image (y, x); with none, a header alone.

    Written by hand, as it is a hundred times faster than building an HDU
    (FITS standard 4.0, sec. 3 and 4).
    """
    cards: dict[str, object] = {"SIMPLE": True, "BITPIX": 8, "NAXIS": 0}
    data = b""
    if pixels is not None:
        big_endian = ">f4" if pixels.dtype.kind == "f" else ">i4"
        data = pixels.astype(big_endian).tobytes()
        cards["BITPIX"] = -32 if pixels.dtype.kind == "f" else 32
        cards |= {"NAXIS": 2, "NAXIS1": pixels.shape[1], "NAXIS2": pixels.shape[0]}
    text = "".join(_card(name, value) for name, value in {**cards, **header}.items())
    text += "END".ljust(80)
    head = text.ljust(-(-len(text) // 2880) * 2880).encode("ascii")
    return head + data.ljust(-(-len(data) // 2880) * 2880, b"\0")


def _card(name: str, value: object) -> str:
    if isinstance(value, bool):
        text = ("T" if value else "F").rjust(20)
    elif isinstance(value, str):
        quoted = value.replace("'", "''")
        text = f"'{quoted:<8}'"
    elif isinstance(value, float):
        text = f"{value!r}".upper().rjust(20)
    else:
        text = str(value).rjust(20)
    return f"{name:<8}= {text}".ljust(80)


# --- the server ---------------------------------------------------------------------------


def _endpoint_of(path: str) -> str | None:
    """Return the name that faults and counters give to a path; None is no service."""
    for start, name in (
        ("/tapvizier/", "vizier_tap"),
        ("/tap/async", "tap_async"),
        ("/tap/", "tap"),
        ("/xmatch/", "xmatch"),
        ("/sia/", "sia"),
        ("/svc/cutout", "cutout"),
    ):
        if path.startswith(start):
            return name
    return None


_WEB_PAGE = (
    b"<html><head><title>Error</title></head><body><pre>\n"
    b"Traceback (most recent call last):\n"
    b'  File "/opt/services/cutout.py", line 212, in do_cutout\n'
    b"IOError: Header missing END card.\n</pre></body></html>\n"
)


class DemoServer:
    """All embedded services of a sky, on a loopback port; a context manager.

    Parameters
    ----------
    sky : what is served.
    port : TCP port; 0 takes any free one.
    faults : faults to commit: a `FaultPlan`, or the mapping that describes one.
    host : a loopback address.
    xmatch_parallel : X-Match jobs at once, beyond which the answer is 403.
    painter : paints the images; made from ``sky`` if not given.

    Raises
    ------
    ConfigError
        If ``host`` is no loopback address.
    ArchipelagoError
        On entering, if the port is in use.

    Examples
    --------
    >>> with DemoServer(sky) as server:            # doctest: +SKIP
    ...     requests.get(f"{server.url}/tap/availability")
    """

    def __init__(
        self,
        sky: Sky,
        port: int = 0,
        faults: FaultPlan | Mapping[str, Any] | None = None,
        *,
        host: str = "127.0.0.1",
        xmatch_parallel: int = XMATCH_PARALLEL,
        painter: Painter | None = None,
    ) -> None:
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ConfigError(
                f"the embedded survey serves this machine only, not {host!r}",
                next_step="use 127.0.0.1",
            )
        self._host = host
        self._port = port
        self.set_faults(faults)
        self._xmatch_parallel = xmatch_parallel
        self._xmatch_running = 0
        self._counts: Counter[str] = Counter()
        vizier = {name: getattr(sky, held) for name, held in VIZIER_TABLES.items()}
        self._tap = TapService("/tap", {DES_TABLE: sky.des})
        self._vizier = TapService("/tapvizier/tap", vizier)
        self._xmatch = XMatchService(vizier)
        self._images = ImageService(painter or Painter(sky))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- life --

    def __enter__(self) -> DemoServer:
        """Start serving in a thread of its own."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise ArchipelagoError(
                f"port {self._port} is in use",
                where=self._host,
                next_step="choose another with --port; --port 0 takes any free one",
            ) from error
        listener.listen(512)
        self._port = listener.getsockname()[1]
        loop = self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._serve, args=(loop, listener, started), name="demosky", daemon=True
        )
        self._thread.start()
        if not started.wait(30.0):
            raise ArchipelagoError("the embedded survey did not start within 30 s", where=self.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(30.0)

    def _serve(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, started: threading.Event
    ) -> None:
        asyncio.set_event_loop(loop)
        application = web.Application(client_max_size=UPLOAD_LIMIT_BYTES + 1_000_000)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        try:
            loop.run_until_complete(runner.setup())
            loop.run_until_complete(web.SockSite(runner, listener).start())
            started.set()
            loop.run_forever()
        finally:
            loop.run_until_complete(runner.cleanup())
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_default_executor())
            listener.close()
            loop.close()

    @property
    def url(self) -> str:
        """Address of the server, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def services(self) -> dict[str, dict[str, str]]:
        """Return the section ``services`` of a configuration that points here."""
        return {
            "tap": {"url": f"{self.url}/tap"},
            "xmatch": {"url": f"{self.url}/xmatch/api/v1/sync"},
            "sia": {"url": f"{self.url}/sia/des_dr2"},
            "vizier_tap": {"url": f"{self.url}/tapvizier/tap"},
        }

    @property
    def counters(self) -> dict[str, int]:
        """Requests so far: per endpoint, and ``faults`` struck in all."""
        return dict(self._counts)

    def set_faults(self, faults: FaultPlan | Mapping[str, Any] | None) -> None:
        """Change the faults from the next request on; counts of attempts start anew."""
        self._faults = faults if isinstance(faults, FaultPlan) else FaultPlan.from_mapping(faults)

    # -- requests --

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith("/control/"):
            return await self._control(request)
        endpoint = _endpoint_of(path)
        if endpoint is None:
            return web.Response(status=404, text="Not found\n")
        self._counts[endpoint] += 1
        raw_query = request.raw_path.partition("?")[2]
        parameters = {name.upper(): value for name, value in request.query.items()}
        upload: bytes | None = None
        identity = [request.method, request.raw_path]
        if request.method == "POST":
            form = await request.post()
            for name, value in sorted(form.items()):
                if isinstance(value, web.FileField):
                    with value.file:
                        upload = value.file.read()
                    identity.append(f"{name}={hashlib.blake2b(upload).hexdigest()}")
                elif isinstance(value, str):
                    parameters[name.upper()] = value
                    identity.append(f"{name}={value}")
            if upload is None and "CAT1" in parameters:
                upload = parameters.pop("CAT1").encode()
        band = _band_of(raw_query) if endpoint == "cutout" else None
        struck = self._faults.strike(endpoint, "\x1f".join(identity), band)
        self._counts["faults"] += len(struck)
        kinds = {rule.kind: rule for rule in struck}
        early = await self._fail_early(request, kinds)
        if early is not None:
            return early
        reply = await self._answer(request, endpoint, parameters, upload, raw_query, kinds)
        if "html" in kinds:
            reply = Reply(_WEB_PAGE, "text/html", chunked=reply.chunked)
        if "empty" in kinds:
            reply = Reply(b"", reply.media_type, chunked=reply.chunked)
        if "truncated" in kinds:
            half = reply.body[: len(reply.body) // 2]
            reply = Reply(half, reply.media_type, reply.status, reply.headers, reply.chunked)
        return await self._send(request, reply, kinds)

    async def _answer(
        self,
        request: web.Request,
        endpoint: str,
        parameters: dict[str, str],
        upload: bytes | None,
        raw_query: str,
        kinds: Mapping[str, FaultRule],
    ) -> Reply:
        base_url = f"http://{request.host}"
        path = request.path
        if endpoint in ("tap", "tap_async"):
            return await self._tap.answer(request.method, path[len("/tap") :], parameters, base_url)
        if endpoint == "vizier_tap":
            tail = path.removeprefix("/tapvizier/tap")
            return await self._vizier.answer(request.method, tail, parameters, base_url)
        if endpoint == "xmatch":
            return await self._cross_match(request, parameters, upload)
        if endpoint == "sia":
            missing = kinds.get("missing_band")
            bands = (missing.bands or ("Y",)) if missing else ()
            if path != "/sia/des_dr2":
                return Reply(b"Not found\n", "text/plain", 404)
            return self._images.sia(parameters, base_url, bands)
        return self._images.cutout(raw_query, other_band="wrong_band" in kinds)

    async def _cross_match(
        self, request: web.Request, parameters: dict[str, str], upload: bytes | None
    ) -> Reply:
        if request.path.rstrip("/").endswith("/tables"):
            return self._xmatch.table_names()
        if request.method != "POST":
            return Reply(b"POST a table\n", "text/plain", 405)
        if self._xmatch_running >= self._xmatch_parallel:
            return Reply(b"Too many jobs in parallel\n", "text/plain", 403)
        self._xmatch_running += 1
        try:
            return await asyncio.to_thread(self._xmatch.match, parameters, upload)
        finally:
            self._xmatch_running -= 1

    async def _control(self, request: web.Request) -> web.Response:
        if request.path == "/control/counters":
            return web.json_response(self.counters)
        if request.path == "/control/faults" and request.method == "POST":
            try:
                self.set_faults(json.loads(await request.text()))
            except (ValueError, ConfigError) as error:
                return web.Response(status=400, text=f"{error}\n")
            return web.json_response({"rules": len(self._faults.rules)})
        return web.Response(status=404, text="Not found\n")

    async def _fail_early(
        self, request: web.Request, kinds: Mapping[str, FaultRule]
    ) -> web.StreamResponse | None:
        """Commit the faults that need no answer; None if there are none."""
        if "latency" in kinds:
            await asyncio.sleep(kinds["latency"].seconds)
        if "down" in kinds:
            _reset(request)
            return web.Response(status=500)
        if "rate_limit" in kinds:
            seconds = f"{kinds['rate_limit'].seconds:g}"
            return web.Response(
                status=429, headers={"Retry-After": seconds}, text="Too many requests\n"
            )
        if "status" in kinds:
            return web.Response(status=kinds["status"].status, text="The service failed\n")
        return None

    async def _send(
        self, request: web.Request, reply: Reply, kinds: Mapping[str, FaultRule]
    ) -> web.StreamResponse:
        headers = {"Content-Type": reply.media_type, **reply.headers}
        broken = kinds.get("reset") or kinds.get("stall")
        if broken is None and not reply.chunked:
            return web.Response(status=reply.status, headers=headers, body=reply.body)
        response = web.StreamResponse(status=reply.status, headers=headers)
        if reply.chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(reply.body)
        await response.prepare(request)
        half = len(reply.body) // 2 if broken is not None else 0
        if broken is not None:
            await response.write(reply.body[:half])
            if broken.kind == "reset":
                _reset(request)
                return response
            await asyncio.sleep(broken.seconds)
        if reply.body[half:]:
            await response.write(reply.body[half:])
        await response.write_eof()
        return response


def _reset(request: web.Request) -> None:
    """Cut the connection so that the client sees a reset."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _band_of(query: str) -> str | None:
    match = re.search(r"siaRef=[^&]*_([grizY]|det)(?:_nobkg)?\.fits", query)
    return match[1] if match else None
