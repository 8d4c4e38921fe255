/* An opened row: its runs and its labels. */

/** What the details of a row depend on besides the row. */
const detailsStamp = (row) => `${unpacked.has(row.strategy)} ${strategies.get(row.strategy)?.runs.length}`;

function table(heads, rows, caption) {
  const head = make("tr", {}, ...heads.map(([text, numeric]) => make("th", { class: numeric ? "n" : null }, text)));
  const line = (cells) => make("tr", {}, ...cells.map((text, at) => (at === 0 ? make("th", { scope: "row" }, text) : cell(text, heads[at][1]))));
  return make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...rows.map(line)));
}

function detailsElement(row, width) {
  const strategy = strategies.get(row.strategy);
  const place = make("td", { colspan: width });
  const element = make("tr", { class: "opened", "data-of": row.key }, place);
  if (!strategy || !strategy.runs.length) {
    place.append(make("p", { class: "note" }, "The page has the runs of the strategies that rank best; `sweep report --format json` has all."));
    return element;
  }
  const policy = model.policies.indexOf(row.policy);
  const runs = strategy.runs.map((run) => {
    const [val, heldOut, test] = run.values[policy] || [null, null, null];
    return [run.run, String(run.seed), num(val), num(heldOut), num(test), num(run.ap), run.scores ? "" : "no kept scores"];
  });
  place.append(
    table([["run", false], ["seed", true], [model.metric, true], ["held out", true], ["on test", true], ["macro_ap", true], ["", false]], runs, `${strategy.name}, threshold ${row.policy}: its runs (sweep show RUN has each)`),
  );
  const known = unpacked.get(row.strategy);
  if (!known || policy < 0) return element;
  const set = model.data[row.data];
  const tested = set.rows[2] > 0;
  const intervals = known.intervals[row.policy];
  const lines = set.rarest.map((label) => {
    const rates = ratesAt(known, onVal(row.data, label), label, { policy }, null, 1);
    const { positives, known: cells } = set.labels[label];
    const between = positives[1] >= ENOUGH && intervals && intervals[label] ? ` [${cut(intervals[label][0])}, ${cut(intervals[label][1])}]` : "";
    const test = known.frozen.map((run) => run[policy][label].test);
    const onTest = (of) => (tested ? num(mean(test.map(([tp, fp]) => of(tp, fp, positives[2])))) : NONE);
    return [
      set.labels[label].name,
      cells[1] ? pct(positives[1] / cells[1]) : NONE,
      num(strategy.ap[label]),
      num(rates.precision),
      num(rates.recall),
      num(rates.f1),
      `${cut(rates.threshold)}${between}`,
      pct(rates.predicted),
      onTest((tp, fp) => (tp + fp ? tp / (tp + fp) : 0)),
      onTest((tp, fp, all) => (all ? tp / all : 0)),
      onTest((tp, fp, all) => (tp + fp + all ? (2 * tp) / (tp + fp + all) : 0)),
    ];
  });
  const heads = ["label", "prevalence", "ap", "precision", "recall", "f1", "threshold", "predicted", "precision on test", "recall on test", "f1 on test"];
  place.append(
    table(heads.map((head, at) => [head, at > 0]), lines, `its labels on val, the rarest first${intervals ? "; [..]: the middle 90% of thresholds over resampled val rows" : ""}; on test under the same thresholds`),
  );
  return element;
}
