// The page: its tables, its map, its keys. Joined last.

const tables = [];
const listRows = all.filter((row) => isListed[row]);
const votesShown = data.shown.filter((name) => byName.has(name)).concat(["vote"]);
let chosenTable = { rows() {}, mark() {} };

// ------------------------------------------------------------------------------ list
if ($("#list") && listRows.length) {
  const count = $("#count");
  const table = makeTable($("#list"), {
    rows: listRows, names: votesShown, label: "List of candidates", size: 50,
    empty: "No candidate passes this filter.",
    onchange: (shown, base) => { count.textContent = `${grouped(shown.length)} of ${grouped(base.length)} shown`; },
  });
  tables.push(table);
  const [typed, hide, vote] = [$("#find"), $("#hide-known"), $("#vote-filter")];
  const refilter = () => {
    let test = () => true;
    try {
      test = parseFilter(typed.value);
      typed.removeAttribute("aria-invalid");
      $("#filter-error").textContent = "";
    } catch (error) {
      typed.setAttribute("aria-invalid", "true");
      $("#filter-error").textContent = error.message;
      return;
    }
    const wanted = vote.value;
    table.filter((row) => test(row) && !(hide.checked && isKnown(row))
      && (wanted === "" || (wanted === "none" ? votes.of(ids[row]).vote === "" : votes.of(ids[row]).vote === wanted)));
    $$(".card[data-known='1']").forEach((card) => { card.hidden = hide.checked; });
  };
  let waiting = 0;
  typed.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(refilter, data.n > 3000 ? 200 : 0); });
  hide.addEventListener("change", refilter);
  vote.addEventListener("change", refilter);
  $("#page-size").addEventListener("change", (event) => table.size(Number(event.target.value)));
  $("#csv").addEventListener("click", () => save(fileName("candidates", "csv"), "text/csv", table.csv()));
  $("#votable").addEventListener("click", () =>
    save(fileName("candidates", "vot"), "application/x-votable+xml", table.votable()));
  const box = $("#column-list");
  [...columns.filter((column) => column.name !== "id"), VOTE_COLUMN, NOTE_COLUMN].forEach((column) => {
    const tick = make("input", { type: "checkbox", value: column.name });
    tick.checked = votesShown.includes(column.name);
    tick.addEventListener("change", () => table.columns(
      $$("input", box).filter((other) => other.checked).map((other) => other.value)
        .sort((a, b) => place(a) - place(b))));
    box.append(make("label", { title: column.about || null }, tick, " ", column.name + (column.unit ? ` [${column.unit}]` : "")));
  });
  // Columns of the first table keep their order, others follow.
  const place = (name) => (votesShown.includes(name) ? votesShown.indexOf(name) : 1000 + columns.findIndex((c) => c.name === name));
  $("#column-find").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    $$("label", box).forEach((label) => { label.hidden = !label.textContent.toLowerCase().includes(wanted); });
  });
  const notes = [];
  if (listRows.length < data.n_ranked) {
    notes.push(`The list holds the first ${grouped(listRows.length)} of ${grouped(data.n_ranked)} ranked objects; candidates.parquet has all.`);
  }
  if (data.left_out.length) {
    notes.push(`${data.left_out.length} columns did not fit into this page: ${data.left_out.slice(0, 12).join(", ")}${data.left_out.length > 12 ? " and others" : ""}; candidates.parquet has all.`);
  }
  $("#list-note").textContent = notes.join(" ");
}

// ------------------------------------------------------------------------------- map
if ($("#plot")) {
  fillSelects();
  chosenTable = makeTable($("#chosen-table"), {
    rows: [], names: votesShown, label: "Chosen objects", size: 20, empty: "Nothing is chosen.",
  });
  tables.push(chosenTable);
  $("#chosen-csv").addEventListener("click", () => save(fileName("chosen", "csv"), "text/csv", chosenTable.csv()));
  $("#chosen-votable").addEventListener("click", () =>
    save(fileName("chosen", "vot"), "application/x-votable+xml", chosenTable.votable()));
  showPanel(-1);
  if (typeof Bokeh === "undefined") {
    $("#plot").textContent = "The map cannot be drawn: BokehJS did not start.";
  } else {
    plot = makePlot();
    $("#chosen-clear").addEventListener("click", () => plot.clear());
    Promise.resolve(plot.attach()).then(() => { document.documentElement.dataset.map = "ready"; });
  }
  const search = $("#search");
  const look = (event) => {
    event.preventDefault();
    const [row, told] = find(search.value);
    $("#search-told").textContent = told;
    search.setAttribute("aria-invalid", String(row < 0 && search.value.trim() !== ""));
    if (row >= 0) select(row, true);
  };
  $("#search-form").addEventListener("submit", look);
}

// ----------------------------------------------------------------------------- cards
$$("article.card").forEach((card) => {
  const row = rowOfId.get(card.id.replace("object-", ""));
  if (row === undefined) return;
  card.tabIndex = -1;
  const bar = make("div", { class: "reader" }, voteBar(row, true));
  if ($("#plot")) {
    bar.append(make("button", { type: "button", text: "On the map", onclick: () => {
      select(row, true);
      $("#plot").focus();
      $("#map").scrollIntoView();
    } }));
  }
  card.append(bar);
});
if ($("#votes-csv")) wireVotes();

// ------------------------------------------------------------------------------ keys
const typing = (element) => element && (element.matches("input, textarea, select") || element.isContentEditable);
const help = $("#help");
const keysOn = $("#keys-on");
keysOn.checked = store.get("archipelago-keys") !== "off";
keysOn.addEventListener("change", () => store.set("archipelago-keys", keysOn.checked ? "on" : "off"));
const cardsShown = () => $$("article.card").filter((card) => !card.hidden);
const cardNow = () => {
  const inside = document.activeElement && document.activeElement.closest("article.card");
  return inside || null;
};
const step = (by) => {
  const list = cardsShown();
  if (!list.length) return;
  const now = list.indexOf(cardNow());
  const next = list[Math.min(Math.max(now < 0 ? (by > 0 ? 0 : list.length - 1) : now + by, 0), list.length - 1)];
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "start" });
};
const rowNow = () => {
  const card = cardNow();
  if (card) return rowOfId.get(card.id.replace("object-", ""));
  const line = document.activeElement && document.activeElement.closest("tr[data-id]");
  return line ? rowOfId.get(line.dataset.id) : current.row;
};
const goTo = (selector) => { const found = $(selector); if (found) { found.scrollIntoView({ block: "center" }); found.focus({ preventScroll: true }); } };
const KEYS = {
  "/": () => goTo("#search"),
  f: () => goTo("#find"),
  g: () => goTo("#plot"),
  j: () => step(1),
  k: () => step(-1),
  l: () => plot && plot.setTool("lasso"),
  b: () => plot && plot.setTool("box"),
  v: () => plot && plot.setTool("move"),
  t: () => theme.next(),
  o: () => {
    const card = cardNow() || $("#panel");
    const note = $(".note-text", card);
    if (note) note.focus();
  },
  "?": () => (help.open ? help.close() : help.showModal()),
};
VOTES.forEach(([name, label, key]) => {
  KEYS[key] = () => {
    const row = rowNow();
    if (row === undefined || row < 0) return;
    votes.vote(ids[row], name);
    say(`${nameOf(row)}: ${votes.of(ids[row]).vote || "no vote"}`);
  };
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (event.key === "Escape" && plot && !help.open) plot.clear();
  if (!KEYS[event.key] || (!keysOn.checked && event.key !== "?") || (help.open && event.key !== "?")) return;
  event.preventDefault();
  KEYS[event.key]();
});
$("#help-open").addEventListener("click", () => help.showModal());
$("#help-close").addEventListener("click", () => help.close());
$("#theme").addEventListener("click", () => theme.next());
const kept = store.get("archipelago-theme");
theme.set(["light", "dark"].includes(kept) ? kept : "auto");
// Everything opens on paper.
window.addEventListener("beforeprint", () => $$("details[data-print]").forEach((part) => { part.open = true; }));
document.documentElement.dataset.ready = "1";
