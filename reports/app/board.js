/* The leaderboard: filter, sort, the best ones, marks for the charts. Rows are kept by key: what does not change is not touched. */
const MOST_PICKED = COLORS.length;
const rowsByKey = new Map();

/** What follows from the rows and the state, until one of them changes. */
let derived = {};
const forget = () => (derived = {});

/** The strategies that the charts show, in the order of their colors. */
const picked = () => (derived.picked ??= findPicked());
function findPicked() {
  if (state.pick) return state.pick.filter((key) => strategies.has(key));
  const first = [];
  for (const row of model.rows) {
    if (row.kind === "strategy" && row.data === state.data && !first.includes(row.strategy)) first.push(row.strategy);
  }
  const chosen = first.slice(0, 5);
  const baseline = first.find((key) => strategies.get(key).ranking && strategies.get(key).ranking.word === "baseline");
  if (baseline && !chosen.includes(baseline)) chosen.push(baseline);
  return chosen;
}
const colorOf = (key) => {
  const at = picked().indexOf(key);
  return at < 0 ? null : COLORS[at % COLORS.length];
};

/** What a row is compared by in a column. */
function sortValue(row, column) {
  const strategy = strategies.get(row.strategy);
  if (column.startsWith("name:")) {
    const text = row.names[Number(column.slice(5))] || "";
    const number = Number(text);
    return text !== "" && !Number.isNaN(number) ? number : text;
  }
  switch (column) {
    case "rank": return row.rank;
    case "policy": return row.policy;
    case "ranking": return strategy && strategy.ranking ? Object.keys(RANKS).indexOf(strategy.ranking.word) : null;
    case "change": return strategy && strategy.ranking && strategy.ranking.change ? strategy.ranking.change[0] : null;
    case "predicted":
    case "steps":
    case "n": return row[column];
    default: return row[column] ? row[column].mean : null;
  }
}

/** Orders values: numbers, then texts, then what is undefined. */
function compare(a, b) {
  const order = (value) => (value === null || value === undefined ? 2 : typeof value === "number" ? 0 : 1);
  if (order(a) !== order(b)) return order(a) - order(b);
  if (order(a) === 2) return 0;
  return typeof a === "number" ? a - b : a.localeCompare(b);
}

/** The rows that the filters leave, in their order; not cut to the first ones. */
function filteredRows() {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const best = new Set();
  let rows = model.rows.filter((row) => {
    const strategy = strategies.get(row.strategy);
    const text = `${row.names.join(" ")} ${row.policy} ${strategy ? strategy.name : ""}`.toLowerCase();
    if (!words.every((word) => (word.startsWith("-") && word.length > 1 ? !text.includes(word.slice(1)) : text.includes(word)))) return false;
    if (state.only === "*") {
      if (best.has(row.strategy)) return false;
      best.add(row.strategy);
      return true;
    }
    return !state.only || row.policy === state.only || row.kind === "all_positive";
  });
  if (state.sort) {
    const [column, direction] = state.sort.split(".");
    const sign = direction === "desc" ? -1 : 1;
    rows = rows.map((row) => [sortValue(row, column), row]);
    rows.sort(([a], [b]) => {
      const undefinedLast = a === null || b === null || a === undefined || b === undefined;
      return undefinedLast ? compare(a, b) : sign * compare(a, b);
    });
    rows = rows.map(([, row]) => row);
  }
  return rows;
}

/** The rows that are shown. */
function shownRows() {
  let left = state.top;
  return filteredRows().filter((row) => row.kind !== "strategy" || left-- > 0);
}

/** The strategies of the data set of the sliders, in the order of the rows that are shown. */
const shownStrategies = () => (derived.shown ??= findShown());
function findShown() {
  const found = new Set();
  for (const row of shownRows()) if (row.data === state.data && row.kind !== "all_positive") found.add(row.strategy);
  return [...found];
}

const cell = (text, numeric, title) => make("td", { class: numeric ? "n" : null, title }, make("span", { class: numeric ? null : "cut" }, text));

function rowElement(row) {
  const strategy = strategies.get(row.strategy);
  const all = row.kind === "all_positive";
  const rank = row.rank === null ? NONE : row.kind === "strategy" ? String(row.rank) : `(${row.rank})`;
  const first = all ? "all-positive" : row.names.length ? row.names[0] : strategy ? strategy.name : "";
  const name = all
    ? make("th", { scope: "row" }, first)
    : make(
        "th",
        { scope: "row", title: row.names.length ? row.names[0] : first },
        make("button", { type: "button", class: "open", "aria-expanded": String(state.open.includes(row.key)), on: { click: () => toggleOpen(row.key) } }, make("span", { class: "cut" }, first)),
      );
  const pick = make("td", { class: "pick" });
  if (!all && strategy) {
    const box = make("input", { type: "checkbox", "aria-label": `show ${strategy.name} in the charts`, on: { change: () => togglePick(row.strategy) } });
    pick.append(box);
  }
  const names = model.columns.slice(1).map((column, at) => cell(all ? "" : row.names[at + 1], column.numeric, all ? null : row.names[at + 1]));
  const ranks = make("td", { class: "rank" });
  if (strategy && strategy.ranking) ranks.append(make("span", { class: strategy.ranking.word }, RANKS[strategy.ranking.word] || strategy.ranking.word));
  if (strategy && strategy.rising[0] && !(strategy.ranking && strategy.ranking.word === "withheld")) {
    const title = `its best evaluation is the last one in ${strategy.rising[0]} of ${strategy.rising[1]} runs`;
    ranks.append(" ", make("span", { class: "rising", title }, "not converged"));
  }
  const element = make(
    "tr",
    { "data-key": row.key, class: `${row.kind}${row.equal_to ? " equal" : ""}` },
    pick,
    cell(rank, true),
    name,
    ...names,
    cell(all ? "" : row.policy, false),
    cell(spread(row.held_out), true, row.held_out ? String(row.held_out.mean) : null),
    cell(spread(row.test), true, row.test ? String(row.test.mean) : null),
    cell(spread(row.ap), true, row.ap ? String(row.ap.mean) : null),
    ranks,
    cell(strategy && strategy.ranking ? change(strategy.ranking.change) : NONE, true),
    cell(spread(row.val), true, row.val ? String(row.val.mean) : null),
    cell(pct(row.predicted), true),
    cell(row.steps === null ? NONE : String(row.steps), true),
    cell(all ? "" : row.n === row.of ? String(row.n) : `${row.n}/${row.of}`, true),
  );
  return element;
}

/** Puts the rows that are shown into the table, each its own element as long as it does not change. */
function drawBoard() {
  forget();
  const body = byId("board").tBodies[0];
  const rows = shownRows();
  const wanted = [];
  for (const row of rows) {
    let held = rowsByKey.get(row.key);
    const text = JSON.stringify([row, strategies.get(row.strategy) && [strategies.get(row.strategy).ranking, strategies.get(row.strategy).rising], model.columns.length]);
    if (!held || held.text !== text) {
      const focused = held && held.element.contains(document.activeElement);
      held = { element: rowElement(row), text, details: held ? held.details : null };
      rowsByKey.set(row.key, held);
      if (focused) requestAnimationFrame(() => held.element.querySelector("button, input")?.focus());
    }
    wanted.push(held.element);
    const open = state.open.includes(row.key);
    held.element.querySelector(".open")?.setAttribute("aria-expanded", String(open));
    if (open) {
      if (!held.details || held.detailsOf !== text + detailsStamp(row)) {
        held.details = detailsElement(row, held.element.cells.length);
        held.detailsOf = text + detailsStamp(row);
      }
      wanted.push(held.details);
    }
    const box = held.element.querySelector(".pick input");
    if (box) {
      const color = colorOf(row.strategy);
      box.checked = color !== null;
      box.style.setProperty("--own", color || "");
    }
  }
  place(body, wanted);
  const all = filteredRows().filter((row) => row.kind === "strategy").length;
  const shown = rows.filter((row) => row.kind === "strategy").length;
  write(byId("shown"), shown < all ? `${shown} of ${all} rows` : `${all} row${all === 1 ? "" : "s"}`);
  for (const head of byId("board").tHead.rows[0].cells) {
    if (!head.dataset.sort) continue;
    const [column, direction] = state.sort.split(".");
    head.setAttribute("aria-sort", column === head.dataset.sort ? (direction === "desc" ? "descending" : "ascending") : "none");
  }
}

/** Makes `wanted` the children of an element, moving only what has to move. */
function place(parent, wanted) {
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  wanted.forEach((element, at) => {
    if (parent.children[at] !== element) parent.insertBefore(element, parent.children[at] || null);
  });
}

function toggleOpen(key) {
  state.open = state.open.includes(key) ? state.open.filter((other) => other !== key) : [...state.open, key];
  saveState();
  drawBoard();
}

function togglePick(key) {
  const now = picked();
  if (now.includes(key)) state.pick = now.filter((other) => other !== key);
  else state.pick = [...now, key].slice(-MOST_PICKED);
  saveState();
  drawBoard();
  drawChosen();
}

/** Wires the controls of the leaderboard. */
function startBoard() {
  const controls = [
    [byId("filter"), "filter", (box) => box.value],
    [byId("policy-filter"), "only", (box) => box.value],
    [byId("top"), "top", (box) => Math.max(1, Math.floor(Number(box.value)) || 1)],
  ];
  for (const [box, name, read] of controls) {
    box.addEventListener("input", () => {
      state[name] = read(box);
      saveState();
      drawBoard();
      drawShown();
    });
  }
  for (const head of byId("board").tHead.rows[0].cells) if (head.dataset.sort) sortable(head);
}

/** A head that orders the rows: once, the other way round, and as they rank. */
function sortable(head) {
  const button = make("button", { type: "button" }, ...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const column = head.dataset.sort;
    const falls = !["rank", "policy"].includes(column) && !column.startsWith("name:");
    const order = falls ? ["desc", "asc"] : ["asc", "desc"];
    const [now, direction] = state.sort.split(".");
    if (now !== column) state.sort = `${column}.${order[0]}`;
    else state.sort = direction === order[0] ? `${column}.${order[1]}` : "";
    saveState();
    drawBoard();
    drawShown();
  });
}

/** Puts the state into the controls. */
function fillBoard() {
  byId("filter").value = state.filter;
  byId("policy-filter").value = state.only;
  byId("top").value = state.top;
}
