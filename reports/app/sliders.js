/* A threshold per label, for every strategy at once: sliders, chips, the two questions, and the table of counts. */
const labelRows = [];
const cutRows = new Map();
const HALF = () => model.stops.indexOf(0.5);

/** The stop nearest to a number. */
function nearestStop(value) {
  let best = 0;
  model.stops.forEach((stop, at) => {
    if (Math.abs(stop - value) < Math.abs(model.stops[best] - value)) best = at;
  });
  return best;
}

const priorOf = (label) => state.priors[label] ?? null;
const costOfMiss = (label) => state.costs[label] ?? 1;
const currentSet = () => model.data[state.data];

/** The rates of a strategy on a label as the reader has set things; kept until these change. */
function current(key, label) {
  const known = unpacked.get(key);
  if (!known) return null;
  const held = known.rates[label];
  const setting = settingOf(label);
  if (held && held.setting === setting) return held.value;
  const value = ratesAt(known, onVal(state.data, label), label, whereOf(label), priorOf(label), costOfMiss(label));
  known.rates[label] = { setting, value };
  return value;
}

/** Macro F1 over the labels, each at its threshold. */
function macroF1(key) {
  const labels = currentSet().labels.length;
  let sum = 0;
  for (let label = 0; label < labels; label += 1) {
    const rates = current(key, label);
    if (!rates) return null;
    sum += rates.f1;
  }
  return sum / labels;
}

/** One row for each label: its name, its slider, a field with the number. */
function makeLabels() {
  const list = byId("labels");
  list.replaceChildren();
  labelRows.length = 0;
  for (const label of currentSet().rarest) {
    const { name, positives, known } = currentSet().labels[label];
    const range = make("input", { type: "range", min: 0, max: model.stops.length - 1, step: 1, "aria-label": `threshold of ${name}`, "data-testid": `slider-${label}` });
    const field = make("input", { type: "number", min: 0, max: 1, step: 0.01, "aria-label": `threshold of ${name}, as a number`, "data-testid": `field-${label}` });
    const own = make("span", { class: "own" });
    const title = make("button", { type: "button", class: "name", title: name, on: { click: () => chooseLabel(label) } }, name);
    const share = make("span", { class: "share" }, known[1] ? pct(positives[1] / known[1]) : NONE);
    const element = make("div", { class: "label", role: "listitem" }, title, share, field, range, own);
    range.addEventListener("input", () => moved(label, Number(range.value)));
    range.addEventListener("focus", () => chooseLabel(label));
    field.addEventListener("focus", () => field.select());
    field.addEventListener("change", () => {
      if (field.value.trim() === "") return letGo(label);
      const value = Math.min(1, Math.max(0, Number(field.value)));
      return Number.isNaN(value) ? drawLabels() : moved(label, nearestStop(value));
    });
    labelRows.push({ label, element, range, field, own });
    list.append(element);
  }
}

function chooseLabel(label) {
  if (state.label === label) return;
  state.label = label;
  saveState();
  drawLabels();
  drawLabel();
}

/** The slider of a label has moved: counts, numbers and points follow at once. */
function moved(label, stop) {
  const begun = performance.now();
  const other = state.label !== label;
  state.cuts[label] = stop;
  state.label = label;
  changed(label);
  drawLabelRow(labelRows.find((row) => row.label === label));
  if (other) {
    drawLabels();
    drawLabel();
  } else {
    drawCuts();
    movePoints();
  }
  const took = performance.now() - begun;
  performance.measure("slider", { start: begun, duration: took });
  root.dataset.slider = took.toFixed(2);
  root.dataset.sliderBest = Math.min(took, Number(root.dataset.sliderBest ?? Infinity)).toFixed(2);
  saveState();
  say();
}

/** The label goes back to the policy of all labels. */
function letGo(label) {
  delete state.cuts[label];
  changed(label);
  saveState();
  drawLabels();
  drawLabel();
}

function drawLabelRow(row) {
  const where = whereOf(row.label);
  row.element.classList.toggle("chosen", row.label === state.label);
  let value;
  if (where.stop !== undefined) {
    value = model.stops[where.stop];
    write(row.own, "");
  } else {
    const first = shownStrategies().find((key) => unpacked.has(key));
    const rates = first ? current(first, row.label) : null;
    value = rates ? rates.threshold : 0.5;
    write(row.own, `${chipName(state.chip)}${/^[\d.]+$/.test(chipName(state.chip)) ? "" : ": each strategy its own"}`);
  }
  row.range.value = String(nearestStop(value));
  row.range.setAttribute("aria-valuetext", cut(value));
  if (document.activeElement !== row.field) row.field.value = where.stop !== undefined ? cut(value) : "";
  row.field.placeholder = value > 1 ? "never" : cut(value);
}

function drawLabels() {
  labelRows.forEach(drawLabelRow);
  for (const chip of byId("chips").children) chip.setAttribute("aria-pressed", String(chip.dataset.chip === state.chip));
}

const chipName = (chip) => (chip === "least" ? "least cost" : chip === "best" ? "best F1" : model.policies[Number(chip)] ?? "");

function makeChips() {
  const chips = byId("chips");
  chips.replaceChildren();
  const names = model.policies.map((_, at) => String(at)).concat(["best", "least"]);
  for (const chip of names) {
    const title = chip === "least" ? "each strategy at the stop of least cost on val" : chip === "best" ? "each strategy at the stop with its largest F1 on val" : "thresholds as the sweep recorded them";
    const button = make("button", { type: "button", "data-chip": chip, title, "data-testid": `chip-${chip}` }, chipName(chip));
    button.addEventListener("click", () => {
      state.chip = chip;
      state.cuts = {};
      changedAll();
      saveState();
      drawLabels();
      drawLabel();
    });
    chips.append(button);
  }
  const sets = byId("sets");
  sets.replaceChildren();
  if (model.data.length > 1) {
    const choice = make("select", { "aria-label": "data set" }, ...model.data.map((set, at) => make("option", { value: at }, `data set ${at + 1} (${set.content[0].slice(0, 8)})`)));
    choice.value = String(state.data);
    choice.addEventListener("change", () => {
      Object.assign(state, { data: Number(choice.value), cuts: {}, priors: {}, costs: {}, pick: null });
      state.label = defaultLabel();
      changedAll();
      saveState();
      makeLabels();
      drawBoard();
      drawShown();
    });
    sets.append(choice);
  }
}

/** What is about the chosen label: its facts, the two questions, curves, counts. */
function drawLabel() {
  const set = currentSet();
  if (!set || !set.labels.length) return;
  const { name, positives, known } = set.labels[state.label];
  write(byId("label-name"), name);
  write(byId("reliability-label"), name);
  const share = known[1] ? positives[1] / known[1] : 0;
  write(byId("label-facts"), `${positives[1]} positive${positives[1] === 1 ? "" : "s"} among ${known[1]} val rows${known[1] < set.rows[1] ? ` that know it (of ${set.rows[1]})` : ""}: ${pct(share)}${positives[1] === 0 ? "; nothing can be said of it on val" : ""}`);
  drawQuestions();
  drawCuts();
  refresh("pr", "reliability");
}

function drawQuestions() {
  const { positives, known } = onVal(state.data, state.label);
  const share = known ? positives / known : 0;
  const prior = priorOf(state.label);
  byId("prior").value = String(Math.log10(Math.max(prior ?? share, 0.001)));
  write(byId("prior-value"), prior === null ? `${pct(share)} (val)` : pct(prior));
  byId("prior").setAttribute("aria-valuetext", byId("prior-value").textContent);
  if (document.activeElement !== byId("cost")) byId("cost").value = String(costOfMiss(state.label));
  const first = picked().find((key) => unpacked.has(key)) ?? shownStrategies().find((key) => unpacked.has(key));
  const least = first ? leastCost(first) : null;
  write(byId("cost-value"), least ? `least cost for ${strategies.get(first).name}: at ${cut(least.threshold)}` : "");
}

function leastCost(key) {
  const known = unpacked.get(key);
  return known && known.withScores ? ratesAt(known, onVal(state.data, state.label), state.label, { least: true }, priorOf(state.label), costOfMiss(state.label)) : null;
}

/** The cut of the largest F1 on val, with the interval that resampled rows give it. */
function bestCut(key) {
  const known = unpacked.get(key);
  const policy = model.policies.indexOf("max_f1");
  if (!known) return NONE;
  const found = ratesAt(known, onVal(state.data, state.label), state.label, policy < 0 ? { best: true } : { policy }, null, 1);
  const enough = onVal(state.data, state.label).positives >= ENOUGH;
  const between = enough && known.intervals.max_f1 && known.intervals.max_f1[state.label];
  return found ? cut(found.threshold) + (between ? ` [${cut(between[0])}, ${cut(between[1])}]` : "") : NONE;
}

/** The table of counts. Only cells whose text changes are written. */
function drawCuts() {
  const wanted = [];
  const label = state.label;
  const fixed = `${label} ${priorOf(label)} ${costOfMiss(label)}`;
  for (const key of shownStrategies()) {
    let row = cutRows.get(key);
    if (!row) {
      const swatch = make("span", { class: "swatch" }, "● ");
      const name = make("th", { scope: "row" }, swatch, make("span", { class: "cut" }));
      const cells = Array.from({ length: 12 }, () => make("td", { class: "n" }, ""));
      row = { element: make("tr", { "data-strategy": key }, name, ...cells), swatch, name: name.lastChild, cells, texts: [], fixed: "" };
      cutRows.set(key, row);
    }
    wanted.push(row.element);
    const strategy = strategies.get(key);
    if (row.called !== strategy.name) {
      row.called = strategy.name;
      write(row.name, strategy.name);
      row.name.title = strategy.name;
    }
    // What a cell says is remembered: reading it back from the document costs more than computing it.
    const put = (at, text) => {
      if (row.texts[at] !== text) {
        row.texts[at] = text;
        row.cells[at].textContent = text;
      }
    };
    const color = colorOf(key) || "transparent";
    if (row.color !== color) {
      row.color = color;
      row.swatch.style.color = color;
    }
    const rates = current(key, label);
    const texts = rates
      ? [cut(rates.threshold), num(rates.precision), num(rates.recall), num(rates.f1), pct(rates.predicted), count(rates.tp), count(rates.fp), count(rates.fn), count(rates.tn)]
      : Array(9).fill(NONE);
    texts.forEach((text, at) => put(at, text));
    if (row.fixed !== fixed + unpacked.has(key)) {
      row.fixed = fixed + unpacked.has(key);
      put(9, bestCut(key));
      const least = leastCost(key);
      put(10, least ? cut(least.threshold) : NONE);
    }
    put(11, num(macroF1(key)));
  }
  place(byId("cuts").tBodies[0], wanted);
}

/** Says the numbers of the first strategy, for who cannot see them move. */
const say = settled(() => {
  const key = shownStrategies().find((key) => unpacked.has(key));
  const rates = key ? current(key, state.label) : null;
  if (rates) {
    write(byId("said"), `${currentSet().labels[state.label].name} at ${cut(rates.threshold)}: ${strategies.get(key).name} has precision ${num(rates.precision)}, recall ${num(rates.recall)}, F1 ${num(rates.f1)}`);
  }
}, 500);

function startSliders() {
  makeChips();
  makeLabels();
  byId("reset").addEventListener("click", () => {
    Object.assign(state, { cuts: {}, priors: {}, costs: {}, chip: DEFAULTS.chip, zoom: null });
    changedAll();
    saveState();
    drawLabels();
    drawLabel();
  });
  const redrawn = perFrame(() => {
    drawQuestions();
    drawLabels();
    drawCuts();
    refresh("pr");
  });
  byId("prior").addEventListener("input", () => {
    state.priors[state.label] = Number((10 ** Number(byId("prior").value)).toPrecision(3));
    changed(state.label);
    saveState();
    redrawn();
  });
  byId("prior-reset").addEventListener("click", () => {
    delete state.priors[state.label];
    changed(state.label);
    saveState();
    redrawn();
  });
  byId("cost").addEventListener("input", () => {
    const cost = Number(byId("cost").value);
    if (!(cost > 0 && cost <= 1000)) return;
    state.costs[state.label] = cost;
    changed(state.label);
    saveState();
    redrawn();
  });
}
