"use strict";
// Sorting and filtering of the list, and the colours of the map. Data are read
// from the page's own cells, never run.
(() => {
  const table = document.querySelector("#list table");
  if (table) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const heads = Array.from(table.tHead.rows[0].cells);
    const value = (row, column) => {
      const text = row.cells[column].dataset.sort;
      return text === undefined || text === "" ? null : Number(text);
    };
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const first = head.dataset.first || "ascending";
        const second = first === "ascending" ? "descending" : "ascending";
        const now = before === first ? second : first;
        heads.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", now);
        const sign = now === "ascending" ? 1 : -1;
        const sorted = rows.map((row, k) => [value(row, column), k, row]).sort((a, b) => {
          // What is missing stands last in both directions.
          if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null) || a[1] - b[1];
          return sign * (a[0] - b[0]) || a[1] - b[1];
        });
        body.append(...sorted.map((entry) => entry[2]));
      });
    });
    const words = document.querySelector("#find");
    const hide = document.querySelector("#hide-known");
    const count = document.querySelector("#count");
    const filter = () => {
      const wanted = words.value.trim().toLowerCase();
      let shown = 0;
      rows.forEach((row) => {
        const out = (hide.checked && row.dataset.known === "1") ||
          (wanted !== "" && !row.textContent.toLowerCase().includes(wanted));
        row.hidden = out;
        shown += out ? 0 : 1;
      });
      count.textContent = shown + " of " + rows.length + " shown";
      document.querySelectorAll(".card[data-known='1']").forEach((card) => { card.hidden = hide.checked; });
    };
    words.addEventListener("input", filter);
    hide.addEventListener("change", filter);
    filter();
  }
  const map = document.querySelector("#map-box");
  if (map) {
    const buttons = Array.from(map.querySelectorAll("button[data-set]"));
    buttons.forEach((button) => button.addEventListener("click", () => {
      map.dataset.colour = button.dataset.set;
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    }));
  }
})();
