/* Learning curves in steps: one chart for each quantity, one line for each chosen strategy, a band for its seeds. */
const QUANTITIES = [["ap", "macro AP on val"], ["val_loss", "loss on val"], ["train_loss", "loss on train"]];

/** Mean and deviation over runs at each step that any of them has. */
function overRuns(curve, quantity) {
  const at = new Map();
  for (const run of curve.runs) {
    run.steps.forEach((step, place) => {
      const value = run[quantity][place];
      if (value === null) return;
      if (!at.has(step)) at.set(step, []);
      at.get(step).push(value);
    });
  }
  return [...at].sort(([a], [b]) => a - b).map(([step, values]) => ({ step, mean: mean(values), sd: values.length > 1 ? deviation(values) : 0, n: values.length }));
}

function learningOption(quantity, title) {
  const series = picked().flatMap((key, at) => {
    const curve = learning.get(key);
    if (!curve) return [];
    const values = overRuns(curve, quantity);
    if (!values.length) return [];
    const color = COLORS[at % COLORS.length];
    const name = strategies.get(key).name;
    const invisible = { type: "line", showSymbol: false, silent: true, lineStyle: { opacity: 0 }, stack: `band ${key}`, stackStrategy: "all" };
    return [
      { ...invisible, data: values.map(({ step, mean, sd }) => [step, mean - sd]) },
      { ...invisible, data: values.map(({ step, sd }) => [step, 2 * sd]), areaStyle: { color, opacity: 0.16 } },
      { type: "line", name, data: values.map(({ step, mean, sd, n }) => ({ value: [step, mean], sd, n })), showSymbol: values.length < 3, symbolSize: 5, lineStyle: { color, width: 1.8, type: DASHES[at % DASHES.length] }, itemStyle: { color } },
    ];
  });
  const said = (entries) => {
    const lines = entries.filter(({ seriesName, data }) => data && data.value && seriesName).map(({ seriesName, data, color }) => `<span style="color:${escaped(color)}">●</span> ${escaped(seriesName)}: ${num(data.value[1])}${data.n > 1 ? ` ± ${num(data.sd)}` : ""}`);
    return lines.length ? `step ${escaped(entries[0].axisValue)}<br>${lines.join("<br>")}` : "";
  };
  return {
    title: { text: title, left: 0, top: 0, textStyle: { color: theme().ink, fontSize: 14, fontWeight: 600 } },
    grid: { ...GRID, top: 34 },
    tooltip: tooltip({ trigger: "axis", formatter: said }),
    xAxis: axis("gradient steps", { scale: false }),
    yAxis: axis("", {}),
    series,
  };
}

function startLearning() {
  if (!model.learning.length) {
    byId("multiples").append(make("p", { class: "empty" }, "No run has a curve: scores that were imported, or nothing recorded yet."));
    return;
  }
  for (const [quantity, title] of QUANTITIES) {
    const element = make("div", { class: "chart", role: "img", "aria-label": `${title} by gradient steps; sweep report --curves has the numbers` });
    byId("multiples").append(element);
    addChart(`learning ${quantity}`, element, () => learningOption(quantity, title));
  }
}

/** Small curves in the table of runs under way. */
function drawSparks() {
  for (const place of document.querySelectorAll(".spark[data-values]")) {
    const values = place.dataset.values.split(",").map(Number).filter((value) => !Number.isNaN(value));
    if (values.length < 2 || place.firstChild) continue;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const at = (value, place) => `${((place / (values.length - 1)) * 78 + 1).toFixed(1)},${(17 - ((value - low) / (high - low || 1)) * 15).toFixed(1)}`;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", "80");
    svg.setAttribute("height", "18");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", values.map(at).join(" "));
    line.setAttribute("fill", "none");
    line.setAttribute("stroke", "currentColor");
    line.setAttribute("stroke-width", "1.5");
    svg.append(line);
    place.append(svg);
  }
}
