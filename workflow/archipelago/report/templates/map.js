// The map: all objects of the page in one Bokeh plot, driven through BokehJS's own interface.

const current = { row: -1 };
const chosen = { rows: [] };
const views = data.views.map((view) => ({ ...view, x: unpack("f4", view.x), y: unpack("f4", view.y) }));
// Columns of which a point may take its colour, and its place.
const numeric = columns.filter((column) => ["f4", "f8", "i4"].includes(column.type) && column.name !== "id");
const texts = columns.filter((column) => column.type === "s" && !["reason", "known_name"].includes(column.name));
const className = byName.has("combined_class") ? "combined_class" : "best_class";
const CLASSES = ["star", "galaxy", "quasar", "lensed", "other"];
const N_KINDS = 10;

// -------------------------------------------------------------------------- colours
const finiteOf = (found) => Array.from(found).filter(Number.isFinite).sort((a, b) => a - b);
const rampAt = (stops, share) => {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  const rest = place - low;
  return `rgb(${stops[low].map((from, k) => Math.round(from + (stops[low + 1][k] - from) * rest)).join(",")})`;
};
const parsed = (text) => {
  const digits = text.replace("#", "");
  return [0, 2, 4].map((k) => parseInt(digits.slice(k, k + 2), 16));
};
const ramp = () => Array.from({ length: 10 }, (_, k) => parsed(colour(`--p${k}`)));
const kindColour = (k) => colour(`--k${k % N_KINDS}`);

/** Colours of all objects by `name`, and the legend that says what they mean. */
const paint = (name) => {
  const none = colour("--sea");
  if (name === "class") {
    return {
      colours: all.map((row) => {
        const found = value(className, row);
        return CLASSES.includes(found) ? colour(`--${found}`) : none;
      }),
      legend: CLASSES.filter((kind) => all.some((row) => value(className, row) === kind))
        .map((kind) => [colour(`--${kind}`), kind]),
    };
  }
  const wanted = name === "p" ? null : byName.get(name);
  if (wanted && (wanted.type === "s" || wanted.type === "b1" || name === "island")) {
    const count = new Map();
    all.forEach((row) => {
      const found = cell(wanted, row);
      if (!isMissing(found) && !(name === "island" && found < 0)) count.set(found, (count.get(found) || 0) + 1);
    });
    const order = Array.from(count.keys()).sort((a, b) =>
      (name === "island" ? a - b : count.get(b) - count.get(a) || (a < b ? -1 : 1)));
    const place = new Map(order.map((found, k) => [found, name === "island" ? found : k]));
    const legend = order.slice(0, 12).map((found) => [
      kindColour(place.get(found)),
      wanted.type === "b1" ? (found ? "yes" : "no") : `${String(found).slice(0, 40)} (${grouped(count.get(found))})`,
    ]);
    if (order.length > 12) legend.push([null, `and ${order.length - 12} more: colours repeat`]);
    legend.push([none, name === "island" ? "on no island" : "no value"]);
    return {
      colours: all.map((row) => (place.has(cell(wanted, row)) ? kindColour(place.get(cell(wanted, row))) : none)),
      legend,
    };
  }
  const found = name === "p"
    ? all.map((row) => wantedChance(row))
    : all.map((row) => cell(wanted, row));
  const order = finiteOf(found);
  const isChance = name === "p" || /^(combined_)?p_/.test(name);
  // A single extreme value does not take all colour from the others.
  const at = (share) => order[Math.min(Math.max(Math.round(share * (order.length - 1)), 0), order.length - 1)];
  const [low, high] = isChance ? [0, 1] : order.length ? [at(0.02), at(0.98)] : [0, 1];
  const stops = ramp();
  const short = (number) => signed(String(Number(number.toPrecision(3))));
  return {
    colours: found.map((number) => (Number.isFinite(number)
      ? rampAt(stops, high > low ? (number - low) / (high - low) : 0.5) : none)),
    ramp: order.length ? { stops, low: short(low), high: short(high), clipped: !isChance } : null,
    legend: order.length === found.length ? [] : [[none, "no value"]],
  };
};
const chanceNames = byName.has("combined_p_quasar")
  ? ["combined_p_quasar", "combined_p_lensed"] : ["p_quasar", "p_lensed"];
const wantedChance = (row) =>
  chanceNames.reduce((sum, name) => sum + (byName.has(name) ? value(name, row) : Number.NaN), 0);

// --------------------------------------------------------------- one object, in words
const describe = (row, size) => {
  const [ra, dec] = sexagesimal(value("ra_deg", row), value("dec_deg", row));
  const list = make("dl", { class: "mags" });
  data.magnitudes.forEach(([band, name]) => {
    if (!byName.has(name)) return;
    list.append(make("div", {}, make("dt", { text: band }), make("dd", { text: words(byName.get(name), row) })));
  });
  const shot = cutout(row, size);
  const lines = [
    make("b", { text: nameOf(row) }),
    make("div", { class: "mono small", text: `id ${ids[row]}` }),
    make("div", { class: "mono small", text: `${ra} ${dec}` }),
  ];
  if (byName.has("rank")) lines.push(make("div", { class: "small", text: `rank ${value("rank", row)}` }));
  if (isKnown(row)) {
    const name = value("known_name", row);
    lines.push(make("div", { class: "small known-words", text: name ? `known: ${name}` : "known quasar" }));
  }
  return [
    make("div", { class: "who" },
      shot || make("div", { class: "none", style: `width:${size}px;height:${size}px`, text: "no cutout" }),
      make("div", {}, ...lines)),
    list,
  ];
};
/** What hovering shows; BokehJS lays it over the page, where the page's style does not reach. */
const hoverBox = (row) => {
  const box = make("div", { style: "font:13px/1.4 sans-serif;color:#17222b;min-width:230px" });
  box.append(...describe(row, 84));
  $(".who", box).style.cssText = "display:flex;gap:10px";
  const shot = $("canvas", box);
  if (shot) shot.style.cssText += ";image-rendering:pixelated;border-radius:4px;flex:none";
  const none = $(".none", box);
  if (none) none.style.cssText += ";border:1px dashed #999;display:grid;place-items:center;font-size:11px;flex:none";
  $(".mags", box).style.cssText = "display:grid;grid-template-columns:repeat(5,auto);gap:0 10px;margin:6px 0 0;font-size:12px";
  $$("dd", box).forEach((dd) => { dd.style.cssText = "margin:0;font-weight:600"; });
  box.dataset.id = ids[row];
  return box;
};

let panelVotes = null;
const showPanel = (row) => {
  const panel = $("#panel");
  if (row < 0) {
    delete panel.dataset.id;
    panel.replaceChildren(make("p", { class: "soft small", text: "Point at an object to see it; select it, or find it by its id or coordinates, to keep it here." }));
    return;
  }
  panelVotes = voteBar(row, true);
  const lines = [...describe(row, 148)];
  const facts = make("dl", { class: "facts small" });
  ["score", ...chanceNames, "z_quasar", "island"].forEach((name) => {
    if (!byName.has(name) || (name !== "score" && words(byName.get(name), row) === DASH)) return;
    facts.append(make("dt", { text: labelOf(byName.get(name)) }), make("dd", { text: words(byName.get(name), row) }));
  });
  const reason = value("reason", row);
  const go = make("div", { class: "row" });
  if (hasCard[row]) go.append(make("a", { href: `#object-${ids[row]}`, text: "Its card" }));
  else go.append(make("span", { class: "soft small", text: "no card in this page" }));
  panel.replaceChildren(...lines, facts, reason ? make("p", { class: "small", text: reason }) : "", panelVotes, go);
  panel.dataset.id = ids[row];
};

// ------------------------------------------------------------------------------ plot
let plot = null;
let select = (row) => {
  current.row = row;
  if ($("#panel")) showPanel(row);
};

function makePlot() {
  const host = $("#plot");
  const view = { x: new Float32Array(0), y: new Float32Array(0), flipped: false, x_label: "", y_label: "" };
  const size = data.n > 8000 ? 3.5 : data.n > 2500 ? 5 : data.n > 400 ? 7 : 9;
  const source = new Bokeh.ColumnDataSource({ data: { x: [], y: [], colour: [] } });
  const marks = {};
  ["known", "cards", "here"].forEach((name) => {
    marks[name] = new Bokeh.ColumnDataSource({ data: { x: [], y: [] } });
  });
  const ranges = {
    x: new Bokeh.Range1d({ start: 0, end: 1 }), y: new Bokeh.Range1d({ start: 0, end: 1 }),
  };
  const tools = {
    move: new Bokeh.PanTool(), lasso: new Bokeh.LassoSelectTool(), box: new Bokeh.BoxSelectTool(),
    zoom: new Bokeh.BoxZoomTool(), wheel: new Bokeh.WheelZoomTool(), tap: new Bokeh.TapTool(),
    reset: new Bokeh.ResetTool(),
  };
  const figure = Bokeh.Plotting.figure({
    tools: Object.values(tools), toolbar_location: null, x_range: ranges.x, y_range: ranges.y,
    sizing_mode: "stretch_both", min_border: 8, lod_threshold: 3000, active_drag: tools.move,
    active_scroll: null,
  });
  const points = figure.scatter({ field: "x" }, { field: "y" }, {
    source, size, fill_color: { field: "colour" }, line_color: null, fill_alpha: 0.85,
    nonselection_fill_alpha: 0.25, selection_fill_alpha: 1, selection_line_color: null,
  });
  const known = figure.scatter({ field: "x" }, { field: "y" }, {
    source: marks.known, marker: "star", size: size + 8, line_width: 0.8,
  });
  const cards = figure.scatter({ field: "x" }, { field: "y" }, {
    source: marks.cards, marker: "circle", size: size + 5, fill_color: null, line_width: 1.4,
  });
  const here = figure.scatter({ field: "x" }, { field: "y" }, {
    source: marks.here, marker: "circle_cross", size: size + 20, fill_color: null, line_width: 2.5,
  });
  const hover = new Bokeh.HoverTool({
    renderers: [points], point_policy: "snap_to_data", limit: 1, attachment: "horizontal",
    tooltips: (_, found) => hoverBox(rows[found.index]),
  });
  figure.add_tools(hover);
  tools.tap.renderers = [points];
  tools.lasso.renderers = [points];
  tools.box.renderers = [points];
  // Objects that have a place in the view: point k of the plot is object rows[k].
  let rows = [];
  let placeOf = new Map();

  const style = () => {
    const [ink, soft, line, paper] = ["--ink", "--soft", "--line", "--card"].map(colour);
    figure.background_fill_color = paper;
    figure.border_fill_color = paper;
    figure.outline_line_color = line;
    figure.xgrid.grid_line_color = colour("--grid");
    figure.ygrid.grid_line_color = colour("--grid");
    [figure.xaxis, figure.yaxis].forEach((axis) => {
      axis.axis_line_color = line;
      axis.major_tick_line_color = line;
      axis.minor_tick_line_color = null;
      axis.major_label_text_color = soft;
      axis.axis_label_text_color = soft;
      axis.axis_label_text_font_style = "normal";
    });
    known.glyph.fill_color = colour("--warm");
    known.glyph.line_color = paper;
    cards.glyph.line_color = ink;
    here.glyph.line_color = colour("--here");
  };
  const drawColours = () => {
    const made = paint($("#colour").value);
    source.data = { ...source.data, colour: rows.map((row) => made.colours[row]) };
    const legend = $("#legend");
    legend.replaceChildren(...made.legend.map(([tint, text]) =>
      make("span", {}, tint ? make("i", { class: "dot", style: `background:${tint}` }) : "", text)));
    if (made.ramp) {
      const bar = make("i", { class: "bar-of-colour" });
      bar.style.background = `linear-gradient(to right, ${made.ramp.stops.map((stop) => `rgb(${stop.join(",")})`).join(",")})`;
      legend.prepend(make("span", {}, made.ramp.low, bar, made.ramp.high));
      if (made.ramp.clipped) legend.append(make("span", { text: "colours end at the 2nd and 98th percentile" }));
    }
  };
  const whole = { x: [0, 1], y: [0, 1] };
  const extent = (found) => {
    let [low, high] = [Infinity, -Infinity];
    found.forEach((number) => { if (number < low) low = number; if (number > high) high = number; });
    if (low > high) return [0, 1];
    const rim = (high - low) * 0.04 || Math.abs(high) * 0.01 || 0.5;
    return [low - rim, high + rim];
  };
  const show = (x, y) => {
    [ranges.x.start, ranges.x.end] = view.flipped ? [x[1], x[0]] : x;
    [ranges.y.start, ranges.y.end] = y;
  };
  const reset = () => show(whole.x, whole.y);
  const drawMarks = () => {
    const at = (list) => ({ x: list.map((row) => view.x[row]), y: list.map((row) => view.y[row]) });
    marks.known.data = at(rows.filter(isKnown));
    marks.cards.data = at(rows.filter((row) => hasCard[row]));
    marks.here.data = at(placeOf.has(current.row) ? [current.row] : []);
  };
  const draw = () => {
    const number = $("#view").value;
    if (number === "columns") {
      const [x, y] = [byName.get($("#x-column").value), byName.get($("#y-column").value)];
      Object.assign(view, { x: x.values, y: y.values, x_label: labelOf(x), y_label: labelOf(y), flipped: false,
        note: "Objects without a value in one of the two columns are not drawn." });
    } else {
      Object.assign(view, views[Number(number)]);
    }
    $("#columns").hidden = number !== "columns";
    rows = all.filter((row) => Number.isFinite(view.x[row]) && Number.isFinite(view.y[row]));
    placeOf = new Map(rows.map((row, k) => [row, k]));
    source.selected.indices = [];
    source.data = {
      x: Float64Array.from(rows, (row) => view.x[row]), y: Float64Array.from(rows, (row) => view.y[row]),
      colour: rows.map(() => colour("--sea")),
    };
    figure.xaxis.axis_label = view.x_label || null;
    figure.yaxis.axis_label = view.y_label || null;
    [whole.x, whole.y] = [extent(source.data.x), extent(source.data.y)];
    reset();
    drawColours();
    drawMarks();
    source.selected.indices = chosen.rows.filter((row) => placeOf.has(row)).map((row) => placeOf.get(row));
    const parts = [`${grouped(rows.length)} objects drawn.`];
    if (number !== "columns" && views[Number(number)].n > rows.length) {
      parts[0] = `${grouped(rows.length)} of ${grouped(views[Number(number)].n)} objects drawn, thinned where they lie ` +
        "densest; the first of the ranking, candidates with a card and known quasars are all kept.";
    }
    $("#map-note").textContent = `${parts[0]} ${view.note}`;
  };
  const setTool = (name) => {
    ["move", "lasso", "box", "zoom"].forEach((other) => { tools[other].active = other === name; });
    $$("#tools button[data-tool]").forEach((button) =>
      button.setAttribute("aria-pressed", String(button.dataset.tool === name)));
  };
  const zoom = (factor, centre) => {
    [["x", ranges.x], ["y", ranges.y]].forEach(([name, range]) => {
      const middle = centre ? centre[name] : (range.start + range.end) / 2;
      const half = ((range.end - range.start) / 2) * factor;
      [range.start, range.end] = [middle - half, middle + half];
    });
  };
  const shift = (dx, dy) => {
    [[ranges.x, dx], [ranges.y, dy]].forEach(([range, step]) => {
      const move = (range.end - range.start) * step;
      [range.start, range.end] = [range.start + move, range.end + move];
    });
  };
  const jump = (row) => {
    if (!placeOf.has(row)) return false;
    const [x, y] = [view.x[row], view.y[row]];
    const span = (range, full) => Math.min(Math.abs(range.end - range.start), (full[1] - full[0]) / 4);
    const [dx, dy] = [span(ranges.x, whole.x) / 2, span(ranges.y, whole.y) / 2];
    show([x - dx, x + dx], [y - dy, y + dy]);
    return true;
  };
  /** The nearest object in the direction of an arrow, seen on the screen. */
  const neighbour = (dx, dy) => {
    if (!placeOf.has(current.row)) return rows.length ? rows[0] : -1;
    const [sx, sy] = [1 / (ranges.x.end - ranges.x.start), 1 / (ranges.y.end - ranges.y.start)];
    let [best, least] = [-1, Infinity];
    rows.forEach((row) => {
      const [x, y] = [(view.x[row] - view.x[current.row]) * sx, (view.y[row] - view.y[current.row]) * sy];
      const along = x * dx + y * dy;
      const across = Math.abs(x * dy) + Math.abs(y * dx);
      const far = along + 2 * across;
      if (along > 1e-9 && across <= 2 * along && far < least) [best, least] = [row, far];
    });
    return best;
  };

  source.selected.properties.indices.change.connect(() => {
    const found = source.selected.indices.map((k) => rows[k]);
    if (found.length === chosen.rows.length && found.every((row, k) => row === chosen.rows[k])) return;
    chosen.rows = found;
    if (found.length === 1) select(found[0], false);
    chosenTable.rows(found);
    $("#chosen").hidden = found.length === 0;
    $("#chosen-count").textContent = `${grouped(found.length)} chosen`;
    say(`${found.length} objects chosen`);
  });
  select = (row, withJump) => {
    current.row = row;
    showPanel(row);
    marks.here.data = placeOf.has(row) ? { x: [view.x[row]], y: [view.y[row]] } : { x: [], y: [] };
    tables.forEach((table) => table.mark(row));
    if (row < 0) return;
    if (withJump && !jump(row)) say(`${nameOf(row)} has no place in this view.`);
  };
  const clear = () => { source.selected.indices = []; };
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  host.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = arrows[event.key];
    if (arrow && event.shiftKey) shift(arrow[0] * 0.15, arrow[1] * 0.15);
    else if (arrow) {
      const row = neighbour(...arrow);
      if (row >= 0) {
        select(row, false);
        const inside = (range, number) => (number - range.start) * (number - range.end) <= 0;
        if (!inside(ranges.x, view.x[row]) || !inside(ranges.y, view.y[row])) jump(row);
        say(`${nameOf(row)}, id ${ids[row]}, rank ${value("rank", row)}`);
      }
    } else if (event.key === "+" || event.key === "=") zoom(1 / 1.4);
    else if (event.key === "-") zoom(1.4);
    else if (event.key === "0") reset();
    else if ((event.key === "Enter" || event.key === " ") && placeOf.has(current.row)) {
      const k = placeOf.get(current.row);
      const now = source.selected.indices;
      source.selected.indices = now.includes(k) ? now.filter((other) => other !== k) : [...now, k];
    } else if (event.key === "Escape") clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  // The wheel scrolls the page until the map has been entered.
  host.addEventListener("pointerdown", () => host.focus({ preventScroll: true }));
  host.addEventListener("focus", () => { tools.wheel.active = true; });
  host.addEventListener("blur", () => { tools.wheel.active = false; });
  $$("#tools button[data-tool]").forEach((button) =>
    button.addEventListener("click", () => setTool(button.dataset.tool)));
  $("#zoom-in").addEventListener("click", () => zoom(1 / 1.4));
  $("#zoom-out").addEventListener("click", () => zoom(1.4));
  $("#zoom-all").addEventListener("click", reset);
  ["#view", "#x-column", "#y-column"].forEach((name) => $(name).addEventListener("change", draw));
  $("#colour").addEventListener("change", drawColours);
  const again = () => { style(); drawColours(); };
  onTheme.push(again);
  dark.addEventListener("change", again);
  // On paper stands a drawing in light colours: the plot itself keeps the size of the screen.
  let drawn = null;
  let themeOnScreen;
  const drawing = () => {
    const { canvas: svg, bbox } = drawn.export("svg");
    svg.setAttribute("viewBox", `0 0 ${bbox.width} ${bbox.height}`);
    ["width", "height"].forEach((name) => svg.removeAttribute(name));
    svg.classList.add("on-paper");
    return svg;
  };
  const setTheme = (name) => {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    again();
  };
  window.addEventListener("beforeprint", async () => {
    if (!drawn) return;
    themeOnScreen = document.documentElement.dataset.theme;
    setTheme("light");
    // The plot takes colours in promises. These wait for nothing else, so that they are kept before
    // the browser prints.
    for (let turn = 0; turn < 100; turn += 1) await null;
    host.after(drawing());
  });
  window.addEventListener("afterprint", () => {
    if (!drawn) return;
    $$("svg.on-paper", host.parentElement).forEach((found) => found.remove());
    setTheme(themeOnScreen);
  });
  style();
  draw();
  setTool("move");
  return { figure, host, clear, setTool, points, source, rowsOf: () => rows, jump, reset, ranges, view,
    attach: async () => { drawn = await Bokeh.Plotting.show(figure, host); } };
}

/** What may be looked at: maps, the sky, two columns; and what colours the points. */
function fillSelects() {
  const option = (name, text) => make("option", { value: name, text });
  views.forEach((view, k) => $("#view").append(option(String(k), view.label)));
  if (numeric.length > 1) $("#view").append(option("columns", "Any two columns"));
  ["#x-column", "#y-column"].forEach((name) =>
    numeric.forEach((column) => $(name).append(option(column.name, labelOf(column)))));
  const magnitudes = numeric.filter((column) => column.name.startsWith("mag_ab_"));
  const two = magnitudes.length > 1 ? magnitudes.slice(-2) : numeric.slice(0, 2);
  if (two.length === 2) [$("#x-column").value, $("#y-column").value] = two.map((column) => column.name);
  const main = make("optgroup", { label: "Often used" });
  const rest = make("optgroup", { label: "All columns" });
  if (byName.has("island") && Array.from(byName.get("island").values).some((found) => found >= 0)) {
    main.append(option("island", "Island"));
  }
  if (byName.has(chanceNames[0])) main.append(option("p", "p(quasar or lensed)"));
  if (byName.has(className)) main.append(option("class", "Most probable class"));
  CLASSES.forEach((kind) => ["combined_p_", "p_"].forEach((start) => {
    if (byName.has(start + kind)) main.append(option(start + kind, `p(${kind})${start === "p_" ? ", photometry alone" : ""}`));
  }));
  [...numeric, ...texts, ...columns.filter((column) => column.type === "b1")].forEach((column) =>
    rest.append(option(column.name, column.name + (column.unit ? ` [${column.unit}]` : ""))));
  if (main.childElementCount) $("#colour").append(main);
  $("#colour").append(rest);
}

// ---------------------------------------------------------------------------- search
/** Degrees of an angle in one to three parts, such as ["01", "03", "36.1"]; NaN if it is none. */
const degreesOf = (parts) => {
  const numbers = parts.map(Number);
  if (!numbers.length || numbers.length > 3 || numbers.some(Number.isNaN)) return Number.NaN;
  if (numbers.slice(1).some((number) => number < 0 || number >= 60)) return Number.NaN;
  const sign = /^-/.test(parts[0]) ? -1 : 1;
  return sign * numbers.reduce((sum, number, k) => sum + Math.abs(number) / 60 ** k, 0);
};
/** Position [deg] that a text tells: decimal, or hours and degrees in any usual form; null if none. */
const parsePosition = (text) => {
  const clean = text.replace(/[\u2212\u2013]/g, "-").trim();
  const packed = /^(?:[A-Za-z]+\s?)?J?(\d{2})(\d{2})(\d{2}(?:\.\d+)?)([+-]\d{2})(\d{2})(\d{2}(?:\.\d+)?)$/.exec(clean.replace(/\s+/g, ""));
  if (packed) {
    return checked(degreesOf(packed.slice(1, 4)) * 15, degreesOf(packed.slice(4, 7)));
  }
  const isHours = /[h:]/i.test(clean) && !/^[^h]*d/i.test(clean);
  const plain = clean.replace(/[hms:d°′″'",;]+/gi, " ").replace(/([^\s])([+-])/g, "$1 $2").replace(/([+-])\s+/g, "$1");
  const parts = plain.split(/\s+/).filter((part) => part !== "");
  if (!parts.every((part) => /^[+-]?\d+(\.\d*)?$/.test(part))) return null;
  if (parts.length === 2) {
    return checked(Number(parts[0]) * (isHours ? 15 : 1), Number(parts[1]));
  }
  const cut = parts.findIndex((part, k) => k > 0 && /^[+-]/.test(part));
  const half = cut > 0 ? cut : parts.length / 2;
  if (!Number.isInteger(half) || half < 1 || half > 3 || parts.length - half > 3) return null;
  // Three parts of an angle are hours, as everywhere; degrees only where they say so.
  const turn = /^[^h]*d/i.test(clean) || half === 1 ? 1 : 15;
  return checked(degreesOf(parts.slice(0, half)) * turn, degreesOf(parts.slice(half)));
};
const checked = (ra, dec) =>
  (Number.isFinite(ra + dec) && Math.abs(dec) <= 90 && ra >= 0 && ra <= 360 ? [ra, dec] : null);
const separation = (ra1, dec1, ra2, dec2) => {
  const rad = Math.PI / 180;
  const half = (a) => Math.sin((a * rad) / 2) ** 2;
  const inner = half(dec2 - dec1) + Math.cos(dec1 * rad) * Math.cos(dec2 * rad) * half(ra2 - ra1);
  return (2 * Math.asin(Math.min(1, Math.sqrt(inner))) * 3600) / rad;
};
const NEAR_ARCSEC = 30;
/** Find an object by id, position or name; returns its row (-1: none) and what to tell the reader. */
const find = (text) => {
  const wanted = text.trim();
  if (wanted === "") return [-1, ""];
  if (rowOfId.has(wanted)) return [rowOfId.get(wanted), `id ${wanted}`];
  const fewer = data.n < data.n_ranked
    ? ` This page holds ${grouped(data.n)} of ${grouped(data.n_ranked)} objects; candidates.parquet has all.` : "";
  const position = parsePosition(wanted);
  if (position) {
    let [best, least] = [-1, Infinity];
    all.forEach((row) => {
      const far = separation(...position, value("ra_deg", row), value("dec_deg", row));
      if (far < least) [best, least] = [row, far];
    });
    if (best < 0) return [-1, "No object has a position."];
    const far = least < 120 ? `${least.toFixed(1)}″` : least < 7200 ? `${(least / 60).toFixed(1)}′` : `${(least / 3600).toFixed(1)}°`;
    if (least > NEAR_ARCSEC) return [-1, `Nothing within ${NEAR_ARCSEC}″; the nearest object lies ${far} away.${fewer}`];
    return [best, `${nameOf(best)}, ${far} from there`];
  }
  const plain = (found) => found.replace(/\u2212/g, "-").toLowerCase();
  const part = plain(wanted);
  const row = all.find((other) => plain(nameOf(other)).includes(part)
    || plain(value("known_name", other) || "").includes(part) || ids[other].startsWith(wanted));
  return row === undefined ? [-1, `No object has this id, name or position.${fewer}`] : [row, nameOf(row)];
};
