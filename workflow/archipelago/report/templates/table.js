// Tables of objects: sorted, filtered, in pages, and saved as they are shown.

const LABELS = {
  rank: "Rank", ra_deg: "RA", dec_deg: "Dec", score: "Score [nats]", z_quasar: "Redshift",
  p_quasar: "p quasar", p_lensed: "p lensed", combined_p_quasar: "p quasar",
  combined_p_lensed: "p lensed", sed_term: "SED [nats]", learning_term: "Images [nats]",
  island: "Island", vote: "Vote", note: "Note",
};
const labelOf = (column) => {
  if (LABELS[column.name]) return LABELS[column.name];
  const magnitude = /^mag_ab_(.+)$/.exec(column.name);
  if (magnitude) return `${magnitude[1]} [mag]`;
  return column.name + (column.unit ? ` [${column.unit}]` : "");
};
// Directions that are tried first: what is large and good comes first.
const DESCENDING = /^(score|z_|p_|combined_p_|.*_term$|.*odds|similarity_known$|similarity_percentile|island_stability|vote)/;
const SPECIAL = new Map([["vote", VOTE_COLUMN], ["note", NOTE_COLUMN]]);
const columnOf = (name) => byName.get(name) || SPECIAL.get(name);
const VOTE_ORDER = { yes: 3, maybe: 2, no: 1, "": Number.NaN };

/** The value that a column is sorted by: a number, or a text; NaN and '' stand last. */
const sortKey = (column) => {
  if (column.name === "vote") return (row) => VOTE_ORDER[column.get(row)];
  if (column.get) return column.get;
  if (column.type === "b1") return (row) => (column.values[row] === 2 ? Number.NaN : column.values[row]);
  return (row) => column.values[row];
};
const sortRows = (rows, column, direction) => {
  const key = sortKey(column);
  const sign = direction === "descending" ? -1 : 1;
  const missing = (found) => found === "" || Number.isNaN(found);
  const compare = column.type === "id"
    ? (a, b) => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0)
    : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return rows.map((row) => [key(row), row]).sort((a, b) => {
    const [none, other] = [missing(a[0]), missing(b[0])];
    if (none || other) return none - other || a[1] - b[1];
    return sign * compare(a[0], b[0]) || a[1] - b[1];
  }).map((pair) => pair[1]);
};

const CONDITION = /([A-Za-z_][\w.]*)\s*(<=|>=|!=|=|<|>)\s*("[^"]*"|\S+)/g;
/** Turn what the reader typed into a test of a row; throws an Error that says what is wrong. */
const parseFilter = (text) => {
  const tests = [];
  const rest = text.replace(CONDITION, (_, name, sign, raw) => {
    const column = columnOf(name);
    if (!column) throw new Error(`No column is named ${name}.`);
    const given = raw.replace(/^"|"$/g, "");
    const key = column.get || ((row) => cell(column, row));
    if (isText(column)) {
      if (sign !== "=" && sign !== "!=") throw new Error(`${name} is text: use = or !=.`);
      const wanted = given.toLowerCase();
      tests.push((row) => (String(key(row)).toLowerCase() === wanted) === (sign === "="));
      return " ";
    }
    const number = { yes: 1, true: 1, no: 0, false: 0 }[given.toLowerCase()] ?? Number(given.replace(MINUS, "-"));
    if (given === "" || Number.isNaN(number)) throw new Error(`${given} is no number.`);
    tests.push((row) => {
      const found = key(row);
      if (found === null || Number.isNaN(found)) return false;
      switch (sign) {
        case "<": return found < number;
        case ">": return found > number;
        case "<=": return found <= number;
        case ">=": return found >= number;
        case "!=": return found !== number;
        default: return found === number;
      }
    });
    return " ";
  });
  const plain = (found) => found.replace(/\u2212/g, "-").toLowerCase();
  rest.split(/[\s&]+/).filter((word) => word !== "").forEach((word) => {
    const wanted = plain(word);
    tests.push((row) => plain(textOf(row)).includes(wanted));
  });
  return (row) => tests.every((test) => test(row));
};
const textOf = (row) => [
  ids[row], nameOf(row), ...sexagesimal(value("ra_deg", row), value("dec_deg", row)),
  value("known_name", row) || "", value("tile", row) || "", votes.of(ids[row]).note,
].join(" ");

/**
 * A table in `host`. Options: rows (all that may be shown), names (columns), label, empty (words
 * where there is nothing), size (rows of a page). Rows are numbers of objects.
 */
function makeTable(host, options) {
  let base = options.rows;
  let names = options.names;
  let shown = base;
  let filter = () => true;
  let sorted = { name: "rank", direction: "ascending" };
  let size = options.size;
  let page = 0;
  const head = make("tr");
  const body = make("tbody");
  const frame = make("div", { class: "list", tabindex: "0", role: "region", "aria-label": options.label },
    make("table", {}, make("thead", {}, head), body));
  const before = make("button", { type: "button", text: "Previous", onclick: () => go(page - 1) });
  const after = make("button", { type: "button", text: "Next", onclick: () => go(page + 1) });
  const where = make("span", { class: "small soft where", role: "status" });
  const pages = make("div", { class: "pages" }, before, where, after);
  const empty = make("p", { class: "empty", text: options.empty });
  host.replaceChildren(frame, empty, pages);

  const drawHead = () => {
    const heads = [
      make("th", {}, make("span", { class: "hidden", text: "Cutout" })),
      headOf({ name: "id", type: "id", unit: "" }, "Object", ""),
      ...names.map((name) => headOf(columnOf(name), labelOf(columnOf(name)), isText(columnOf(name)) ? "" : "n")),
    ];
    head.replaceChildren(...heads);
  };
  const headOf = (column, label, kind) => {
    const now = sorted.name === column.name ? sorted.direction : "none";
    return make("th", { class: kind || null, "aria-sort": now, "data-name": column.name, title: column.about || null },
      make("button", { type: "button", text: label, onclick: () => sort(column.name) }));
  };
  const sort = (name, direction) => {
    const first = DESCENDING.test(name) ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const again = sorted.name === name && sorted.direction === first;
    sorted = { name, direction: direction || (again ? second : first) };
    drawHead();
    update();
    const button = $$("th", head).find((th) => th.dataset.name === name);
    if (button && document.activeElement === document.body) $("button", button).focus();
  };
  const rowOf = (row) => {
    const known = isKnown(row);
    const link = hasCard[row]
      ? make("a", { href: `#object-${ids[row]}`, text: nameOf(row) })
      : make("a", { href: "#map", text: nameOf(row), title: "Show on the map" });
    link.addEventListener("click", (event) => {
      if (!hasCard[row]) event.preventDefault();
      select(row, !hasCard[row]);
    });
    const cells = names.map((name) => {
      const column = columnOf(name);
      if (name === "vote") return make("td", {}, voteBar(row, false));
      if (name === "note") return make("td", { class: "long", text: column.get(row) });
      if (name === "ra_deg" || name === "dec_deg") {
        const both = sexagesimal(value("ra_deg", row), value("dec_deg", row));
        return make("td", { class: "n", title: words(column, row), text: both[name === "ra_deg" ? 0 : 1] });
      }
      const kind = isText(column) ? (name === "reason" ? "long wide" : "long") : "n";
      return make("td", { class: kind, text: words(column, row) });
    });
    const badge = known
      ? make("span", { class: "badge known", title: value("known_name", row) || "known quasar", text: "known" })
      : null;
    return make("tr", { "data-id": ids[row], class: row === current.row ? "current" : null },
      make("td", { class: "shot" }, cutout(row, 34) || ""),
      make("td", {}, link, badge ? " " : "", badge || "", make("br"), make("span", { class: "small soft mono", text: ids[row] })),
      ...cells);
  };
  const draw = (from, to) => body.replaceChildren(...shown.slice(from, to).map(rowOf));
  const go = (wanted) => {
    const last = Math.max(Math.ceil(shown.length / size) - 1, 0);
    page = Math.min(Math.max(wanted, 0), last);
    const [from, to] = [page * size, Math.min((page + 1) * size, shown.length)];
    draw(from, to);
    frame.scrollTop = 0;
    before.disabled = page === 0;
    after.disabled = page === last;
    frame.hidden = shown.length === 0;
    empty.hidden = shown.length !== 0;
    pages.hidden = shown.length === 0;
    where.textContent = shown.length ? `${grouped(from + 1)}–${grouped(to)} of ${grouped(shown.length)}` : "";
    if (options.onchange) options.onchange(shown, base);
  };
  const update = () => {
    shown = sortRows(base.filter(filter), columnOf(sorted.name) || byName.get("rank"), sorted.direction);
    go(0);
  };
  const fields = () => ["id", "ra_deg", "dec_deg", ...names]
    .filter((name, k, list) => columnOf(name) && list.indexOf(name) === k)
    .map((wanted) => {
      const column = columnOf(wanted);
      if (column.get) return column;
      const { name, type, unit, ucd, about } = column;
      return { name, type, unit, ucd, about, get: (row) => exact(column, row) };
    });
  window.addEventListener("beforeprint", () => draw(0, Math.min(shown.length, Math.max(200, size))));
  window.addEventListener("afterprint", () => go(page));
  drawHead();
  update();
  return {
    get shown() { return shown; },
    get names() { return names; },
    rows(rows) { base = rows; update(); },
    filter(test) { filter = test; update(); },
    columns(list) { names = list; drawHead(); go(page); },
    size(number) { size = number; go(0); },
    mark(row) {
      $$("tr.current", body).forEach((line) => line.classList.remove("current"));
      const place = shown.indexOf(row);
      if (place < 0) return false;
      if (Math.floor(place / size) !== page) go(Math.floor(place / size));
      const line = $$("tr", body)[place - page * size];
      line.classList.add("current");
      return true;
    },
    csv: () => csvOf(fields(), shown),
    votable: () => votableOf(fields(), shown),
  };
}
