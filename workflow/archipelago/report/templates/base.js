// What all parts use: the data, words for numbers, files to save, light and dark.
// Text from data only ever becomes textContent or an attribute's value, never markup or code.

const $ = (selector, from) => (from || document).querySelector(selector);
const $$ = (selector, from) => Array.from((from || document).querySelectorAll(selector));

/** Make an element: attributes by name, `text` its words, `on…` a listener, then children. */
const make = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  Object.entries(attributes || {}).forEach(([name, value]) => {
    if (value === null || value === undefined || value === false) return;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  });
  element.append(...children.filter((child) => child !== null));
  return element;
};

const bytesOf = (text) => {
  const signs = atob(text);
  const bytes = new Uint8Array(signs.length);
  for (let k = 0; k < signs.length; k += 1) bytes[k] = signs.charCodeAt(k);
  return bytes;
};
// Written little-endian, as all machines are that have a browser.
const ARRAYS = { f4: Float32Array, f8: Float64Array, i4: Int32Array, b1: Uint8Array };
const unpack = (type, text) => new ARRAYS[type](bytesOf(text).buffer);

const data = JSON.parse($("#data").textContent);
/** A column; its numbers are unpacked when they are first asked for. */
const columns = data.columns.map(({ data: packed, ...column }) => {
  let values = ARRAYS[column.type] ? null : packed;
  return Object.defineProperty(column, "values", {
    get: () => {
      if (values === null) values = unpack(column.type, packed);
      return values;
    },
  });
});
data.columns = null;
const byName = new Map(columns.map((column) => [column.name, column]));
const all = Array.from({ length: data.n }, (_, row) => row);
const hasCard = unpack("b1", data.card);
const isListed = unpack("b1", data.listed);
const cutouts = { ...data.sprite, place: unpack("i4", data.sprite.place), picture: $("#sprite") };
const ids = byName.has("id") ? byName.get("id").values : [];
const rowOfId = new Map(ids.map((id, row) => [id, row]));

/** A cell as a number (NaN: missing), a text, or null for a missing flag. */
const cell = (column, row) => {
  const value = column.values[row];
  return column.type === "b1" ? (value === 2 ? null : value) : value;
};
const value = (name, row) => (byName.has(name) ? cell(byName.get(name), row) : undefined);
const isText = (column) => column.type === "s" || column.type === "id";
const isMissing = (found) =>
  found === undefined || found === null || found === "" || Number.isNaN(found);
const isKnown = (row) => value("is_known", row) === 1;

// ------------------------------------------------------------------ numbers in words
const MINUS = "\u2212";
const DASH = "\u2013";
const signed = (text) => (text.startsWith("-") ? MINUS + text.slice(1) : text);
const grouped = (count) => count.toLocaleString("en-GB");

const words = (column, row) => {
  const found = cell(column, row);
  if (isMissing(found)) return DASH;
  if (isText(column)) return found;
  if (column.type === "b1") return found ? "yes" : "no";
  if (column.name === "island" || column.name.startsWith("island_seed")) {
    return found < 0 ? "none" : String(found);
  }
  if (column.type === "i4") return signed(String(found));
  if (!Number.isFinite(found)) return found > 0 ? "∞" : MINUS + "∞";
  if (column.unit === "deg") return signed(found.toFixed(5));
  if (column.unit === "mag") return signed(found.toFixed(2));
  if (/^(combined_)?p_/.test(column.name)) {
    if (found <= 0 || found >= 1) return found <= 0 ? "0" : "1";
    return found < 0.001 ? "< 0.001" : found > 0.999 ? "> 0.999" : found.toFixed(3);
  }
  if (Number.isInteger(found) && Math.abs(found) < 1e6) return signed(String(found));
  const size = Math.abs(found);
  if (size >= 1e5 || size < 1e-3) return signed(found.toExponential(2));
  return signed(size >= 100 ? found.toFixed(1) : size >= 1 ? found.toFixed(2) : found.toFixed(3));
};

/** A cell as it is written into a file: all digits that the page holds, '' where missing. */
const exact = (column, row) => {
  const found = cell(column, row);
  if (isMissing(found)) return "";
  if (isText(column)) return found;
  if (column.type === "b1") return found ? "true" : "false";
  return String(column.type === "f4" ? Number(found.toPrecision(7)) : found);
};

/** Right ascension in hours and declination in degrees, ICRS. */
const sexagesimal = (ra, dec) => {
  if (!Number.isFinite(ra + dec)) return [DASH, DASH];
  const two = (number) => String(number).padStart(2, "0");
  const hundredths = Math.round((((ra % 360) + 360) % 360) / 15 * 360000) % (24 * 360000);
  const tenths = Math.round(Math.abs(dec) * 36000);
  const seconds = ((hundredths % 6000) / 100).toFixed(2).padStart(5, "0");
  const arcsec = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return [
    `${two(Math.floor(hundredths / 360000))}:${two(Math.floor(hundredths / 6000) % 60)}:${seconds}`,
    `${dec < 0 ? MINUS : "+"}${two(Math.floor(tenths / 36000))}:${two(Math.floor(tenths / 600) % 60)}:${arcsec}`,
  ];
};
const nameOf = (row) => {
  const ra = value("ra_deg", row);
  const dec = value("dec_deg", row);
  if (!Number.isFinite(ra + dec)) return "no position";
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  const minutes = Math.floor((((ra % 360) + 360) % 360) / 15 * 60 + 1e-9);
  const arcmin = Math.floor(Math.abs(dec) * 60 + 1e-9);
  return `J${two(minutes / 60)}${two(minutes % 60)}${dec < 0 ? MINUS : "+"}${two(arcmin / 60)}${two(arcmin % 60)}`;
};

// ------------------------------------------------------------------------- cutouts
/** The cutout of an object as a canvas; null where the page holds none. */
const cutout = (row, size) => {
  const place = cutouts.place[row];
  if (place === undefined || place < 0 || !cutouts.picture) return null;
  const canvas = make("canvas", { class: "pic", role: "img", "aria-label": "Colour cutout" });
  canvas.width = canvas.height = cutouts.side;
  canvas.style.width = canvas.style.height = `${size}px`;
  const draw = () => {
    const x = (place % cutouts.per_row) * cutouts.step;
    const y = Math.floor(place / cutouts.per_row) * cutouts.step;
    const side = cutouts.side;
    canvas.getContext("2d").drawImage(cutouts.picture, x, y, side, side, 0, 0, side, side);
  };
  if (cutouts.picture.complete) draw();
  else cutouts.picture.addEventListener("load", draw, { once: true });
  return canvas;
};

// ---------------------------------------------------------------------------- files
const save = (name, type, text) => {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: address, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
};
const fileName = (what, ending) =>
  `${data.run.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 60) || "run"}_${what}.${ending}`;

const csvCell = (text, fromText) => {
  // A spreadsheet would run a text that begins like a formula.
  const safe = fromText && /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
};
/** `fields`: name, unit, ucd, about, type, and `get(row)`, the text of a cell. */
const csvOf = (fields, rows) => {
  const lines = [fields.map((field) => csvCell(field.name, true)).join(",")];
  rows.forEach((row) => lines.push(
    fields.map((field) => csvCell(field.get(row), isText(field))).join(",")));
  return lines.join("\r\n") + "\r\n";
};

const VOTABLE_TYPES = { f4: "float", f8: "double", i4: "int", b1: "boolean" };
const xml = (text) => String(text)
  // What XML 1.0 cannot hold at all.
  // eslint-disable-next-line no-control-regex
  .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd")
  .replace(/[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g,
    (found) => (found.length === 2 ? found : "\ufffd"))
  .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;")
  .replace(/"/g, "&quot;").replace(/\r/g, "&#13;");
/** A VOTable 1.4 (IVOA) with units and UCDs. */
const votableOf = (fields, rows) => {
  // Identifiers are long only where every one is a whole number.
  const kinds = fields.map((field) => (field.type === "id" ? "long" : VOTABLE_TYPES[field.type]));
  const heads = fields.map((field, k) => {
    const type = kinds[k] ? `datatype="${kinds[k]}"` : 'datatype="unicodeChar" arraysize="*"';
    const unit = field.unit ? ` unit="${xml(field.unit)}"` : "";
    const ucd = field.ucd ? ` ucd="${xml(field.ucd)}"` : "";
    const about = field.about ? `<DESCRIPTION>${xml(field.about)}</DESCRIPTION>` : "";
    return `<FIELD name="${xml(field.name)}" ${type}${unit}${ucd}>${about}</FIELD>`;
  });
  const body = rows.map((row) => `<TR>${fields.map((field, k) => {
    const text = field.get(row);
    if (text === "" && (kinds[k] === "float" || kinds[k] === "double")) return "<TD>NaN</TD>";
    if (text === "" && kinds[k] === "boolean") return "<TD>?</TD>";
    const infinite = { Infinity: "+Inf", "-Infinity": "-Inf" }[text];
    return `<TD>${xml(infinite || text)}</TD>`;
  }).join("")}</TR>`);
  return `<?xml version="1.0" encoding="UTF-8"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
<RESOURCE type="results"><DESCRIPTION>${xml(`Archipelago, run ${data.run}`)}</DESCRIPTION>
<TABLE name="objects" nrows="${rows.length}">
${heads.join("\n")}
<DATA><TABLEDATA>
${body.join("\n")}
</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>
`;
};

// ------------------------------------------------------------- what the browser keeps
/** Texts kept by the browser under the page's own names; `works` tells whether it keeps any. */
const store = (() => {
  const own = new Map();
  let works = false;
  try {
    localStorage.setItem("archipelago-test", "1");
    works = localStorage.getItem("archipelago-test") === "1";
    localStorage.removeItem("archipelago-test");
  } catch (error) {
    works = false;
  }
  return {
    get works() { return works; },
    get: (name) => {
      try {
        return works ? localStorage.getItem(name) : own.get(name) || null;
      } catch (error) {
        return own.get(name) || null;
      }
    },
    set: (name, text) => {
      own.set(name, text);
      try {
        if (works) localStorage.setItem(name, text);
      } catch (error) {
        works = false; // Full, or withdrawn.
      }
      return works;
    },
  };
})();

// --------------------------------------------------------------------- light and dark
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const onTheme = [];
const theme = {
  get chosen() { return document.documentElement.dataset.theme || "auto"; },
  set(name) {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    store.set("archipelago-theme", name);
    $("#theme").textContent = { auto: "Auto", light: "Light", dark: "Dark" }[name];
    onTheme.forEach((call) => call());
  },
  next() { theme.set({ auto: "dark", dark: "light", light: "auto" }[theme.chosen]); },
};
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const say = (text) => { $("#status").textContent = text; };
