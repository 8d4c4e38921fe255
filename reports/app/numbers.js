/* Numbers as text, as the tables of `sweep report` have them. */
const NONE = "–";
const missing = (value) => value === null || value === undefined || Number.isNaN(value);

/** Digits as Rust writes them: what lies exactly between two goes to the even one, where toFixed goes up. */
function fixed(value, digits) {
  const scaled = value * 10 ** digits;
  const tie = scaled - Math.floor(scaled) === 0.5 && Number.isInteger(value * 2 ** (digits + 1));
  if (!tie) return value.toFixed(digits);
  const below = Math.floor(scaled);
  return ((below % 2 === 0 ? below : below + 1) / 10 ** digits).toFixed(digits);
}

const num = (value) => (missing(value) ? NONE : fixed(value, 3));
const pct = (value) => (missing(value) ? NONE : `${fixed(100 * value, 1)}%`);
const signed = (value) => {
  if (missing(value)) return NONE;
  const text = fixed(Math.abs(value), 3);
  return text === "0.000" ? text : `${value < 0 ? "-" : "+"}${text}`;
};
const spread = (value) => (!value ? NONE : value.sd === null ? num(value.mean) : `${num(value.mean)} ± ${num(value.sd)}`);
const change = (found) => (found ? `${signed(found[0])} [${signed(found[1])}, ${signed(found[2])}]` : NONE);
/** A mean of counts: whole where the runs agree. */
const count = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(1));
/** A threshold; above 1 no score is predicted. */
const cut = (value) => (value > 1 ? "never" : fixed(value, 3));

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
