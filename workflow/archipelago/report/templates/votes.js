// Votes and notes of the reader: kept by the browser under the name of the run.

const VOTES = [["yes", "Yes", "y", "✓"], ["maybe", "Maybe", "m", "?"], ["no", "No", "n", "✗"]];
const votesKey = `archipelago-votes:${data.run}`;
const onVote = [];

const votes = (() => {
  const kept = new Map();
  const isEntry = (entry) => entry !== null && typeof entry === "object";
  const clean = (entry) => ({
    vote: VOTES.some(([name]) => name === entry.vote) ? entry.vote : "",
    note: typeof entry.note === "string" ? entry.note.slice(0, 10000) : "",
    at: typeof entry.at === "string" ? entry.at.slice(0, 40) : "",
  });
  try {
    const found = JSON.parse(store.get(votesKey) || "{}");
    if (isEntry(found)) {
      Object.entries(found).forEach(([id, entry]) => isEntry(entry) && kept.set(id, clean(entry)));
    }
  } catch (error) {
    say("The votes that the browser kept cannot be read; it starts without any.");
  }
  const write = () => {
    if (!store.set(votesKey, JSON.stringify(Object.fromEntries(kept)))) tellStore();
  };
  const change = (id, part) => {
    const entry = { ...(kept.get(id) || { vote: "", note: "" }), ...part };
    entry.at = new Date().toISOString();
    if (entry.vote || entry.note) kept.set(id, entry);
    else kept.delete(id);
    write();
    onVote.forEach((call) => call(id));
  };
  return {
    of: (id) => kept.get(id) || { vote: "", note: "", at: "" },
    vote: (id, name) => change(id, { vote: kept.has(id) && kept.get(id).vote === name ? "" : name }),
    note: (id, text) => change(id, { note: text }),
    get size() { return kept.size; },
    entries: () => Array.from(kept, ([id, entry]) => ({ id, ...entry })),
    /** Take votes of a file; of two on one object the later counts. Returns how many were taken. */
    take: (list) => {
      let taken = 0;
      list.forEach((entry) => {
        if (!isEntry(entry) || !/^-?\d{1,20}$/.test(String(entry.id))) return;
        const id = String(entry.id);
        const given = clean(entry);
        if (!(given.vote || given.note) || (kept.has(id) && kept.get(id).at >= given.at)) return;
        kept.set(id, given);
        taken += 1;
      });
      write();
      onVote.forEach((call) => call(null));
      return taken;
    },
  };
})();

function tellStore() {
  const words = store.works
    ? "Votes and notes stay in this browser, under the name of this run; save them to keep or share them."
    : "This browser keeps nothing for this page (its storage is refused): votes and notes are " +
      "lost when the page closes. Save them to a file before.";
  $$(".store-note").forEach((element) => {
    element.textContent = words;
    element.classList.toggle("warn", !store.works);
  });
}

/** Buttons and a note for one object. */
const voteBar = (row, withNote) => {
  const id = ids[row];
  const bar = make("div", { class: "votes", role: "group", "aria-label": `Vote on ${nameOf(row)}` });
  VOTES.forEach(([name, label, key, sign]) => bar.append(make("button", {
    type: "button", "data-vote": name, text: withNote ? label : sign, title: `${label} (key ${key})`,
    "aria-label": label,
    onclick: () => votes.vote(id, name),
  })));
  let note = null;
  if (withNote) {
    note = make("input", {
      type: "text", class: "note-text", placeholder: "Note", maxlength: "10000",
      "aria-label": `Note on ${nameOf(row)}`, onchange: () => votes.note(id, note.value),
    });
    bar.append(note);
  }
  bar.refresh = () => {
    const entry = votes.of(id);
    $$("button", bar).forEach((button) =>
      button.setAttribute("aria-pressed", String(button.dataset.vote === entry.vote)));
    if (note && document.activeElement !== note) note.value = entry.note;
  };
  bar.dataset.id = id;
  bar.refresh();
  return bar;
};
onVote.push((id) => $$(".votes").forEach((bar) => {
  if (bar.refresh && (id === null || bar.dataset.id === id)) bar.refresh();
}));
onVote.push(() => {
  const count = { yes: 0, maybe: 0, no: 0 };
  votes.entries().forEach((entry) => { if (entry.vote) count[entry.vote] += 1; });
  $("#votes-count").textContent = votes.size
    ? `${count.yes} yes, ${count.maybe} maybe, ${count.no} no; ${votes.size} with a vote or a note`
    : "No votes yet";
});

// What is no column of the search, but is shown and saved like one.
const VOTE_COLUMN = {
  name: "vote", unit: "", ucd: "meta.code", type: "s",
  about: "The reader's vote: yes, maybe or no.", get: (row) => votes.of(ids[row]).vote,
};
const NOTE_COLUMN = {
  name: "note", unit: "", ucd: "meta.note", type: "s",
  about: "The reader's note.", get: (row) => votes.of(ids[row]).note,
};

function wireVotes() {
  const fields = () => {
    const known = new Map(votes.entries().map((entry) => [entry.id, entry]));
    const list = Array.from(known.values());
    const column = (name, type, about, get) =>
      ({ name, type, about, unit: "", ucd: name === "id" ? "meta.id;meta.main" : "", get });
    const place = (name) => (entry) => {
      const row = rowOfId.get(entry.id);
      return row === undefined || !byName.has(name) ? "" : exact(byName.get(name), row);
    };
    return [[
      column("id", "id", "Identifier of the object.", (entry) => entry.id),
      { ...column("ra_deg", "f8", "Right ascension, ICRS.", place("ra_deg")), unit: "deg" },
      { ...column("dec_deg", "f8", "Declination, ICRS.", place("dec_deg")), unit: "deg" },
      column("vote", "s", VOTE_COLUMN.about, (entry) => entry.vote),
      column("note", "s", NOTE_COLUMN.about, (entry) => entry.note),
      column("at", "s", "When it was voted, UTC.", (entry) => entry.at),
    ], list];
  };
  $("#votes-csv").addEventListener("click", () =>
    save(fileName("votes", "csv"), "text/csv", csvOf(...fields())));
  $("#votes-json").addEventListener("click", () => save(fileName("votes", "json"),
    "application/json", JSON.stringify({ run: data.run, votes: votes.entries() }, null, 1)));
  $("#votes-file").addEventListener("change", async (event) => {
    const file = event.target.files[0];
    if (!file) return;
    try {
      const found = JSON.parse(await file.text());
      if (!found || !Array.isArray(found.votes)) throw new Error("no list of votes");
      const taken = votes.take(found.votes);
      const other = found.run === data.run ? "" : " They are of another run.";
      say(`${taken} of ${found.votes.length} votes taken; the others are not newer.${other}`);
    } catch (error) {
      say("This file holds no votes: choose a JSON file that this page saved.");
    }
    event.target.value = "";
  });
  tellStore();
  onVote.forEach((call) => call(null));
}
