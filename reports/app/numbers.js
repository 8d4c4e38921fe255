/* Numbers as text, as the tables of `sweep report` have them. */
const NONE = "–";
const num = (value) => (value === null || value === undefined || Number.isNaN(value) ? NONE : value.toFixed(3));
const pct = (value) => (value === null || value === undefined || Number.isNaN(value) ? NONE : `${(100 * value).toFixed(1)}%`);
const signed = (value) => {
  if (value === null || value === undefined) return NONE;
  const text = Math.abs(value).toFixed(3);
  return text === "0.000" ? text : `${value < 0 ? "-" : "+"}${text}`;
};
const spread = (value) => (!value ? NONE : value.sd === null ? num(value.mean) : `${num(value.mean)} ± ${num(value.sd)}`);
const change = (found) => (found ? `${signed(found[0])} [${signed(found[1])}, ${signed(found[2])}]` : NONE);
/** A mean of counts: whole where the runs agree. */
const count = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(1));
/** A threshold; above 1 no score is predicted. */
const cut = (value) => (value > 1 ? "never" : value.toFixed(3));

function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return values.length ? sum / values.length : NaN;
}

/** Sample standard deviation (ddof = 1); NaN of one value. */
function deviation(values) {
  const middle = mean(values);
  let sum = 0;
  for (const value of values) sum += (value - middle) ** 2;
  return values.length > 1 ? Math.sqrt(sum / (values.length - 1)) : NaN;
}

const RANKS = {
  baseline: "baseline",
  better: "ranks better",
  same: "ranks the same",
  worse: "ranks worse",
  unknown: "cannot tell",
  withheld: "not converged",
};
