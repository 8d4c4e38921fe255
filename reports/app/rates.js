/* Rates of strategies at thresholds: means over runs of the rates of their counts on val, with 0 for 0/0, as `sweep report` has them. */

/** Where a label's threshold comes from: {stop: index}, {policy: index}, {least: true} (least cost) or {best: true} (largest F1). */

/**
 * The mean rates of a strategy on one label.
 * @param prior the prevalence where the model is used, or null for that of val: precision and F1 follow it, recall and the share of
 *              negatives that are predicted stay.
 */
function ratesAt(known, facts, label, where, prior, cost) {
  const { positives, known: cells } = facts;
  const negatives = cells - positives;
  const sums = { runs: 0, threshold: 0, precision: 0, recall: 0, f1: 0, predicted: 0, tp: 0, fp: 0, fn: 0, tn: 0 };
  const add = (threshold, tp, fp) => {
    const recall = positives ? tp / positives : 0;
    let precision = tp + fp ? tp / (tp + fp) : 0;
    let f1 = 2 * tp + fp + positives - tp ? (2 * tp) / (tp + fp + positives) : 0;
    let predicted = cells ? (tp + fp) / cells : 0;
    if (prior !== null) {
      const hits = prior * recall;
      const alarms = (1 - prior) * (negatives ? fp / negatives : 0);
      predicted = hits + alarms;
      precision = predicted ? hits / predicted : 0;
      f1 = precision + recall ? (2 * precision * recall) / (precision + recall) : 0;
    }
    sums.runs += 1;
    sums.threshold += threshold;
    sums.precision += precision;
    sums.recall += recall;
    sums.f1 += f1;
    sums.predicted += predicted;
    sums.tp += tp;
    sums.fp += fp;
    sums.fn += positives - tp;
    sums.tn += negatives - fp;
  };
  if (where.policy !== undefined) {
    for (const run of known.frozen) {
      const { threshold, val } = run[where.policy][label];
      add(threshold, val[0], val[1]);
    }
  } else {
    const stops = model.stops.length;
    const labels = model.data[known.data].labels.length;
    for (let run = 0; run < known.withScores; run += 1) {
      const at = (run * labels + label) * 2 * stops;
      let stop = where.stop;
      if (where.least) stop = bestStop(known, at, stops, (tp, fp) => -costOf(tp, fp, positives, negatives, prior, cost));
      else if (where.best) stop = bestStop(known, at, stops, (tp, fp) => (2 * tp) / (tp + fp + positives || 1));
      add(model.stops[stop], known.counts[at + stop], known.counts[at + stops + stop]);
    }
  }
  if (!sums.runs) return null;
  const { runs } = sums;
  for (const name of Object.keys(sums)) if (name !== "runs") sums[name] /= runs;
  return sums;
}

/** The expected cost per row: a false alarm costs 1. */
function costOf(tp, fp, positives, negatives, prior, cost) {
  const share = prior === null ? positives / (positives + negatives || 1) : prior;
  const missed = positives ? (positives - tp) / positives : 0;
  const alarms = negatives ? fp / negatives : 0;
  return cost * share * missed + (1 - share) * alarms;
}

/** The stop of the largest value; of equal ones the middle. */
function bestStop(known, at, stops, value) {
  let first = 0;
  let last = 0;
  let best = -Infinity;
  for (let stop = 0; stop < stops; stop += 1) {
    const here = value(known.counts[at + stop], known.counts[at + stops + stop]);
    if (here > best) {
      best = here;
      first = stop;
      last = stop;
    } else if (here === best && last === stop - 1) {
      last = stop;
    }
  }
  return (first + last) >> 1;
}

/** Positives and known rows of a label on val. */
function onVal(data, label) {
  const { positives, known } = model.data[data].labels[label];
  return { positives: positives[1], known: known[1] };
}
