"use strict";
// Lays the utterances of a report out as a table: sorted, searched and filtered, a page at a time.
// Whatever comes from data goes into the page as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("utterances-data").textContent);
  const size = data.classes.length;
  const kinds = Object.keys(data.shares);
  const called = { human: "Humans", proxies: "Proxies", pooled: "Pooled", predicted: "Predicted" };
  const short = shorten(data.classes);
  const collator = new Intl.Collator("en", { numeric: true });
  const columns = [
    { title: "Utterance", values: data.id, text: true },
    { title: "Distributions", values: null },
    { title: "Votes", values: data.votes, show: votes },
    { title: "Entropy", values: data.entropy, show: thousandth, hint: "of the human votes, in bits" },
    { title: "Ambiguity", values: data.level, show: (row) => data.levels[data.level[row]] ?? "–", hint: "by the votes that labels see" },
    ...Object.keys(data.js).map((kind) => ({
      title: `JS ${called[kind].toLowerCase()}`, values: data.js[kind], show: thousandth,
      hint: `Jensen-Shannon divergence to the human votes, in bits`,
    })),
  ];
  const haystack = data.id.map((id, row) => `${id} ${data.text?.[row] ?? ""}`.toLowerCase());
  const state = { sorted: null, up: true, page: 0, many: 25, words: "", level: "", split: "", favourite: "" };
  let rows = [];

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  // The shortest beginnings, of three letters or more, that tell the classes apart.
  function shorten(names) {
    return names.map((name) => {
      for (let length = 3; length < name.length; length += 1) {
        const start = name.slice(0, length);
        if (names.filter((other) => other.startsWith(start)).length === 1) return start;
      }
      return name;
    });
  }

  function paint(made, place) {
    const [colour, hatched] = data.colours[place];
    made.style.backgroundColor = colour;
    made.style.color = ["#0072b2", "#000000"].includes(colour) ? "#fff" : "#000";
    if (hatched) {
      made.style.backgroundImage = "repeating-linear-gradient(45deg, #fffc 0 1px, transparent 1px 5px)";
      made.style.color = "#000";
    }
  }

  function thousandth(row, values) {
    return values[row] < 0 ? "–" : (values[row] / 1000).toFixed(3);
  }

  function votes(row) {
    const held = data.held_out[row];
    const seen = Math.round(100 * (data.votes[row] - held)) / 100;
    return held ? `${seen} + ${held}` : `${seen}`;
  }

  function bar(kind, row) {
    const shares = data.shares[kind].slice(row * size, (row + 1) * size);
    const name = element("span", { class: "kind" }, called[kind]);
    if (shares[0] < 0) return element("div", { class: "line" }, name, element("span", { class: "none" }, "none"));
    const said = data.classes.map((label, place) => `${label} ${(shares[place] / 1000).toFixed(3)}`);
    const whole = element("span", { class: "bar", role: "img", "aria-label": `${called[kind]}: ${said.join(", ")}`, title: said.join("\n") });
    shares.forEach((share, place) => {
      if (!share) return;
      const part = element("span", { class: "part", "data-class": data.classes[place] }, share >= 140 ? short[place] : "");
      part.style.width = `${share / 10}%`;
      paint(part, place);
      whole.append(part);
    });
    return element("div", { class: "line" }, name, whole);
  }

  function numbers(row) {
    const details = element("details", {}, element("summary", {}, "Numbers"));
    details.addEventListener("toggle", () => {
      if (!details.open || details.children.length > 1) return;
      const head = element("tr", {}, element("td"), ...kinds.map((kind) => element("th", { scope: "col", class: "number" }, called[kind])));
      const body = data.classes.map((label, place) => element("tr", {}, element("th", { scope: "row" }, label),
        ...kinds.map((kind) => element("td", { class: "number" }, thousandth(row * size + place, data.shares[kind])))));
      details.append(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
    });
    return details;
  }

  function line(row) {
    const text = data.text?.[row];
    const sound = data.audio?.[row];
    const first = element("th", { scope: "row", role: "rowheader" }, data.id[row],
      data.splits.length > 1 ? element("small", {}, data.splits[data.split[row]]) : null,
      text ? element("q", {}, text) : null,
      sound ? element("audio", { controls: "", preload: "metadata", src: sound, "aria-label": `Recording of ${data.id[row]}` }) : null);
    const bars = element("td", { class: "bars", role: "cell" }, ...kinds.map((kind) => bar(kind, row)), numbers(row));
    const cells = columns.slice(2).map((column) =>
      element("td", { class: "number", role: "cell", "data-title": column.title }, column.show(row, column.values)));
    return element("tr", { role: "row" }, first, bars, ...cells);
  }

  function choose() {
    const { words, level, split, favourite } = state;
    rows = [];
    for (let row = 0; row < data.id.length; row += 1) {
      if (words && !haystack[row].includes(words)) continue;
      if (level !== "" && data.level[row] !== Number(level)) continue;
      if (split !== "" && data.split[row] !== Number(split)) continue;
      if (favourite !== "" && data.favourite[row] !== Number(favourite)) continue;
      rows.push(row);
    }
    if (state.sorted) {
      const { values, text } = state.sorted;
      const turn = state.up ? 1 : -1;
      const known = (row) => text || values[row] >= 0;
      const compare = text ? (a, b) => collator.compare(values[a], values[b]) : (a, b) => values[a] - values[b];
      rows.sort((a, b) => known(b) - known(a) || turn * compare(a, b) || a - b); // what is unknown comes last
    }
    state.page = 0;
    show();
  }

  function show() {
    const last = Math.max(0, Math.ceil(rows.length / state.many) - 1);
    state.page = Math.min(Math.max(state.page, 0), last);
    const start = state.page * state.many;
    const shown = rows.slice(start, start + state.many);
    body.replaceChildren(...shown.map(line));
    const count = (number) => number.toLocaleString("en");
    status.textContent = rows.length
      ? `${count(start + 1)}–${count(start + shown.length)} of ${count(rows.length)} utterances`
      : "No utterance is like that";
    turns.forEach(([, move], place) => { buttons[place].disabled = move(last) === state.page; });
  }

  function sort(column, head) {
    state.up = state.sorted === column ? !state.up : Boolean(column.text);
    state.sorted = column;
    for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", state.up ? "ascending" : "descending");
    choose();
  }

  function choice(title, name, options) {
    const select = element("select", { onchange: () => { state[name] = select.value; choose(); } },
      element("option", { value: "" }, "all"), ...options.map((option, place) => element("option", { value: place }, option)));
    return element("label", { class: "choice" }, title, select);
  }

  const search = element("input", { type: "search", oninput: () => { state.words = search.value.toLowerCase().trim(); choose(); } });
  const controls = element("div", { class: "controls", role: "search" },
    element("label", {}, data.text ? "Search ids and transcripts" : "Search ids", search),
    choice("Ambiguity", "level", data.levels),
    data.splits.length > 1 ? choice("Split", "split", data.splits) : null,
    choice("Humans heard most", "favourite", data.classes));
  const legend = element("ul", { class: "legend", "aria-label": "Classes" }, ...data.classes.map((label, place) => {
    const swatch = element("i", {}, short[place]);
    paint(swatch, place);
    return element("li", {}, swatch, label);
  }));
  const heads = columns.map((column) => {
    const head = element("th", { scope: "col", role: "columnheader", class: column.values && !column.text ? "number" : undefined });
    if (!column.values) head.append(column.title);
    else {
      head.setAttribute("aria-sort", "none");
      head.append(element("button", { type: "button", title: column.hint, onclick: () => sort(column, head) }, column.title));
    }
    return head;
  });
  const body = element("tbody", { role: "rowgroup" });
  const status = element("span", { role: "status" });
  const turns = [
    ["First", () => 0],
    ["Previous", () => Math.max(0, state.page - 1)],
    ["Next", (last) => Math.min(last, state.page + 1)],
    ["Last", (last) => last],
  ];
  const buttons = turns.map(([title, move]) => element("button", {
    type: "button", onclick: () => { state.page = move(Math.max(0, Math.ceil(rows.length / state.many) - 1)); show(); },
  }, title));
  const many = element("select", { onchange: () => { state.many = Number(many.value); state.page = 0; show(); } },
    ...[10, 25, 50, 100].map((number) => element("option", number === 25 ? { selected: "" } : {}, `${number}`)));
  const about = `${data.id.length.toLocaleString("en")} of ${data.total.toLocaleString("en")} utterances`
    + `${data.id.length < data.total ? ", evenly spread" : ""}. Humans: the shares of all human votes; votes after a plus `
    + "are held out from the labels. Proxies: their mean answer. JS: divergence to the human votes, in bits; 0 is equality.";
  document.getElementById("explorer").replaceChildren(
    element("p", { class: "note" }, about), controls, legend,
    element("table", { class: "utterances", role: "table", "aria-label": "Utterances" },
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads)), body),
    element("div", { class: "pages" }, ...buttons, status, element("label", {}, "a page ", many)));
  choose();
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
