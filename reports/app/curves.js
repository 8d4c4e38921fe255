/* Precision-recall curves of the chosen label, under a transparent chart with the points that the sliders move; reliability. */
const GRID = { left: 52, right: 18, top: 16, bottom: 46 };
let overlay = null;
let points = [];

/** The precision on a curve under another prevalence: recall and the share of negatives that are predicted stay. */
function underPrior(precision, recall, label) {
  const prior = priorOf(label);
  const { positives, known } = onVal(state.data, label);
  if (prior === null || !positives || positives === known) return precision;
  const share = positives / known;
  const alarms = (recall * share * (1 - precision)) / (precision * (1 - share));
  return (prior * recall) / (prior * recall + (1 - prior) * alarms || 1);
}

function edges() {
  const [x0, x1, y0, y1] = state.zoom || [0, 1, 0, 1];
  return { xAxis: { min: x0, max: x1 }, yAxis: { min: y0, max: y1 } };
}

function curveOption() {
  const label = state.label;
  const { faint, ink } = theme();
  const chosen = picked();
  const others = shownStrategies().filter((key) => !chosen.includes(key));
  const line = (key, at) => {
    const known = unpacked.get(key);
    const curve = known && known.curves[label];
    if (!curve) return [];
    const data = curve.map((precision, level) => [level / (LEVELS - 1), underPrior(precision, Math.max(level / (LEVELS - 1), 1e-9), label)]);
    const style = at < 0 ? { color: faint, width: 1 } : { color: COLORS[at % COLORS.length], width: 2, type: DASHES[at % DASHES.length] };
    return [{ type: "line", data, showSymbol: false, silent: true, lineStyle: style, z: at < 0 ? 1 : 3 }];
  };
  const { positives, known } = onVal(state.data, label);
  const share = priorOf(label) ?? (known ? positives / known : 0);
  const series = [...others.flatMap((key) => line(key, -1)), ...chosen.flatMap((key, at) => line(key, at))];
  series.push({
    type: "line",
    data: [[0, share], [1, share]],
    showSymbol: false,
    silent: true,
    lineStyle: { color: ink, width: 1, type: "dotted" },
  });
  const without = chosen.filter((key) => unpacked.has(key) && !unpacked.get(key).curves[label]).length;
  write(
    byId("pr-note"),
    (positives ? `Lines: mean over runs; dotted: predicting at random. ${others.length ? "Grey: the other strategies that are shown. " : ""}Large points: the thresholds above; small ones: every policy. Drag to zoom, double-click for the whole.` : "Without positives on val there is no curve.") +
      (without && positives ? " Runs without kept scores have no curve." : ""),
  );
  const { xAxis, yAxis } = edges();
  return { grid: GRID, xAxis: axis("recall", xAxis), yAxis: axis("precision", { ...yAxis, nameGap: 36 }), series };
}

/** Where each strategy stands at the thresholds of the sliders; the chosen ones last, on top. */
function pointsNow() {
  const chosen = picked();
  const shown = shownStrategies();
  const order = [...shown.filter((key) => !chosen.includes(key)), ...shown.filter((key) => chosen.includes(key)), ...chosen.filter((key) => !shown.includes(key))];
  points = order.flatMap((key) => {
    const rates = current(key, state.label);
    return rates ? [{ key, rates }] : [];
  });
  const { faint, ground } = theme();
  return points.map(({ key, rates }) => {
    const at = chosen.indexOf(key);
    return {
      value: [rates.recall, rates.precision],
      symbol: at < 0 ? "circle" : SYMBOLS[at % SYMBOLS.length],
      symbolSize: at < 0 ? 5 : 13,
      itemStyle: at < 0 ? { color: faint } : { color: COLORS[at % COLORS.length], borderColor: ground, borderWidth: 1.5 },
    };
  });
}

/** The points of every policy, of the chosen strategies. */
function policyPoints() {
  return picked().flatMap((key, at) => {
    const known = unpacked.get(key);
    if (!known || strategies.get(key).data !== state.data) return [];
    return model.policies.map((policy, place) => {
      const rates = ratesAt(known, onVal(state.data, state.label), state.label, { policy: place }, priorOf(state.label), 1);
      return { value: [rates.recall, rates.precision], key, policy, rates, itemStyle: { color: "transparent", borderColor: COLORS[at % COLORS.length], borderWidth: 1.5 } };
    });
  });
}

function overlayOption() {
  const { xAxis, yAxis } = edges();
  const hidden = { type: "value", show: false };
  const said = ({ seriesIndex, dataIndex, data }) => {
    const { key, rates } = seriesIndex === 0 ? points[dataIndex] : data;
    const policy = seriesIndex === 0 ? "" : `, ${data.policy}`;
    return `<b>${escaped(strategies.get(key).name)}</b>${escaped(policy)}<br>threshold ${cut(rates.threshold)}<br>precision ${num(rates.precision)}, recall ${num(rates.recall)}, F1 ${num(rates.f1)}<br>TP ${count(rates.tp)}, FP ${count(rates.fp)}, FN ${count(rates.fn)}, TN ${count(rates.tn)}`;
  };
  return {
    animation: false,
    grid: GRID,
    xAxis: { ...hidden, ...xAxis },
    yAxis: { ...hidden, ...yAxis },
    tooltip: tooltip({ trigger: "item", formatter: said }),
    series: [
      { type: "scatter", data: pointsNow(), clip: true, emphasis: { disabled: true } },
      { type: "scatter", data: policyPoints(), symbol: "circle", symbolSize: 7, clip: true, z: 4, emphasis: { disabled: true } },
    ],
  };
}

/** Moves the points; curves are not drawn again. */
function movePoints() {
  const chart = charts.get("pr");
  if (!overlay || !chart || !chart.seen) {
    if (chart) chart.stale = true;
    return;
  }
  overlay.setOption({ series: [{ data: pointsNow() }] });
  overlay.getZr().flush();
}

/** A rectangle that is drawn over the curves is what they show next. */
function startZoom(element) {
  const frame = make("div", { style: { position: "absolute", border: "1px dashed currentColor", "pointer-events": "none", display: "none" } });
  element.append(frame);
  let from = null;
  const at = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const zoomTo = (zoom) => {
    state.zoom = zoom;
    saveState();
    refresh("pr");
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.pointerType !== "touch") from = at(event);
  });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = at(event);
    Object.assign(frame.style, { display: "block", inset: "auto", left: `${Math.min(from[0], to[0])}px`, top: `${Math.min(from[1], to[1])}px`, width: `${Math.abs(from[0] - to[0])}px`, height: `${Math.abs(from[1] - to[1])}px` });
  });
  addEventListener("pointerup", (event) => {
    if (!from) return;
    const [start, end] = [from, at(event)];
    from = null;
    frame.style.display = "none";
    if (Math.abs(start[0] - end[0]) < 12 || Math.abs(start[1] - end[1]) < 12 || !overlay) return;
    const [a, b] = [start, end].map((pixel) => overlay.convertFromPixel({ gridIndex: 0 }, pixel));
    const edge = (value) => Math.min(1, Math.max(0, Math.round(value * 1000) / 1000));
    const zoom = [edge(Math.min(a[0], b[0])), edge(Math.max(a[0], b[0])), edge(Math.min(a[1], b[1])), edge(Math.max(a[1], b[1]))];
    if (zoom[0] < zoom[1] && zoom[2] < zoom[3]) zoomTo(zoom);
  });
  element.addEventListener("dblclick", () => zoomTo(null));
}

function startCurves() {
  const under = make("div");
  const over = make("div");
  byId("pr").append(under, over);
  const chart = addChart("pr", under, () => {
    if (!overlay) {
      overlay = echarts.init(over, null, { renderer: "canvas" });
      new ResizeObserver(() => overlay.resize()).observe(over);
    }
    overlay.setOption(overlayOption(), { notMerge: true });
    if (printing) onPaper(byId("pr"), "points", overlay);
    return curveOption();
  });
  startZoom(byId("pr"));
  addChart("reliability", byId("reliability-chart"), reliabilityOption);
  return chart;
}

/** Rows, mean score and share of positives of each bin: counts between the stops at its edges. */
function binsOf(known, label) {
  const stops = model.stops.length;
  const labels = currentSet().labels.length;
  return known.bins[label].map((score, bin) => {
    const [low, high] = [bin, bin + 1].map((edge) => model.stops.indexOf(edge / BINS));
    let rows = 0;
    let hits = 0;
    for (let run = 0; run < known.withScores; run += 1) {
      const at = (run * labels + label) * 2 * stops;
      const between = (from) => known.counts[from + low] - (bin + 1 < BINS ? known.counts[from + high] : 0);
      hits += between(at);
      rows += between(at) + between(at + stops);
    }
    return { rows: rows / Math.max(1, known.withScores), score, rate: rows ? hits / rows : 0 };
  });
}

function reliabilityOption() {
  const { dim } = theme();
  const series = picked().flatMap((key, at) => {
    const known = unpacked.get(key);
    if (!known || strategies.get(key).data !== state.data) return [];
    const bins = binsOf(known, state.label).filter((bin) => bin.rows > 0);
    const data = bins.map((bin) => ({ value: [bin.score, bin.rate], symbolSize: Math.max(4, Math.min(16, 2 * Math.log2(1 + bin.rows))), rows: bin.rows, key }));
    const color = COLORS[at % COLORS.length];
    return [{ type: "line", name: strategies.get(key).name, data, symbol: SYMBOLS[at % SYMBOLS.length], lineStyle: { color, type: DASHES[at % DASHES.length], width: 1.5 }, itemStyle: { color } }];
  });
  series.push({ type: "line", data: [[0, 0], [1, 1]], showSymbol: false, silent: true, lineStyle: { color: dim, type: "dotted", width: 1 } });
  const said = ({ data }) => `<b>${escaped(strategies.get(data.key).name)}</b><br>mean score ${num(data.value[0])}, positives ${num(data.value[1])}<br>${count(Math.round(data.rows * 10) / 10)} rows`;
  return {
    grid: GRID,
    tooltip: tooltip({ trigger: "item", formatter: said }),
    xAxis: axis("mean score of the bin", { min: 0, max: 1 }),
    yAxis: axis("share of positives", { min: 0, max: 1, nameGap: 36 }),
    series,
  };
}

/** The chosen strategies above each chart: their lines, points and names. */
function drawLegends() {
  const items = picked().map((key, at) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", "30");
    svg.setAttribute("height", "10");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const dash = DASHES[at % DASHES.length];
    for (const [name, value] of Object.entries({ x1: 0, x2: 30, y1: 5, y2: 5, stroke: COLORS[at % COLORS.length], "stroke-width": 3, "stroke-dasharray": dash === "solid" ? "" : dash.join(" ") })) line.setAttribute(name, value);
    svg.append(line);
    return [svg, strategies.get(key).name];
  });
  for (const place of document.querySelectorAll(".legend")) {
    place.replaceChildren(...items.map(([svg, name]) => make("li", { title: name }, svg.cloneNode(true), make("span", { class: "cut" }, name))));
  }
}
