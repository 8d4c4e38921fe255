/* What the reader has chosen. All of it is in the URL after `#`, so that a link shows the same view and a reload loses nothing. */
const DEFAULTS = {
  /** `column.asc` or `column.desc`; empty: by rank. */
  sort: "",
  filter: "",
  /** Policy of the rows that are shown; `*`: the best of each strategy. */
  only: "",
  top: 20,
  /** Keys of the strategies that the charts show; null: the first ones. */
  pick: null,
  /** Keys of opened rows. */
  open: [],
  data: 0,
  label: 0,
  /** The policy of every label whose slider was not moved: its place, `least` or `best`. */
  chip: "0",
  /** Label → index of a stop, prevalence, cost of a miss. */
  cuts: {},
  priors: {},
  costs: {},
  /** Recall and precision that the curves show: [x0, x1, y0, y1]. */
  zoom: null,
};
const state = structuredClone(DEFAULTS);

const pairs = (object) => Object.entries(object).map(([key, value]) => `${key}:${value}`).join(",");
function readPairs(text, check) {
  const found = {};
  for (const part of text.split(",")) {
    const [key, value] = part.split(":").map(Number);
    if (Number.isInteger(key) && key >= 0 && check(value)) found[key] = value;
  }
  return found;
}

/** The state as text; what is as it was at first is left out. */
function stateText() {
  const words = new URLSearchParams();
  const put = (name, text) => {
    if (text) words.set(name, text);
  };
  put("sort", state.sort);
  put("filter", state.filter);
  put("only", state.only);
  put("top", state.top === DEFAULTS.top ? "" : String(state.top));
  put("pick", state.pick === null ? "" : state.pick.join(",") || "-");
  put("open", state.open.join(","));
  put("data", state.data ? String(state.data) : "");
  put("label", state.label === defaultLabel() ? "" : String(state.label));
  put("chip", state.chip === DEFAULTS.chip ? "" : state.chip);
  put("cut", pairs(state.cuts));
  put("prior", pairs(state.priors));
  put("cost", pairs(state.costs));
  put("zoom", state.zoom ? state.zoom.join(",") : "");
  return words.toString();
}

/** Takes over what a URL says; what cannot be is left as it was at first. */
function readState(text) {
  forget();
  changedAll();
  Object.assign(state, structuredClone(DEFAULTS));
  if (!text.includes("=")) {
    state.label = defaultLabel();
    return;
  }
  const words = new URLSearchParams(text);
  const list = (name) => (words.get(name) || "").split(",").filter(Boolean);
  state.sort = /^[\w:]+\.(asc|desc)$/.test(words.get("sort") || "") ? words.get("sort") : "";
  state.filter = words.get("filter") || "";
  state.only = words.get("only") || "";
  const top = Math.floor(Number(words.get("top")));
  state.top = top >= 1 ? top : DEFAULTS.top;
  state.pick = words.has("pick") ? list("pick").filter((key) => key !== "-") : null;
  state.open = list("open");
  state.data = Math.min(Math.max(0, Math.floor(Number(words.get("data"))) || 0), model.data.length - 1);
  const labels = model.data[state.data] ? model.data[state.data].labels.length : 0;
  const label = Number(words.get("label"));
  state.label = words.has("label") && Number.isInteger(label) && label >= 0 && label < labels ? label : defaultLabel();
  const chip = words.get("chip") || DEFAULTS.chip;
  state.chip = chip === "least" || chip === "best" || Number(chip) < model.policies.length ? chip : DEFAULTS.chip;
  state.cuts = readPairs(words.get("cut") || "", (stop) => Number.isInteger(stop) && stop >= 0 && stop < model.stops.length);
  state.priors = readPairs(words.get("prior") || "", (prior) => prior > 0 && prior <= 1);
  state.costs = readPairs(words.get("cost") || "", (cost) => cost > 0 && cost <= 1000);
  const zoom = list("zoom").map(Number);
  state.zoom = zoom.length === 4 && zoom.every((edge) => edge >= 0 && edge <= 1) && zoom[0] < zoom[1] && zoom[2] < zoom[3] ? zoom : null;
}

/** Positives on val below which a curve or an interval says nothing. */
const ENOUGH = 10;

/** The rarest label that has enough positives on val: the one that sweeps are about. */
function defaultLabel() {
  const set = model.data[state.data];
  if (!set) return 0;
  const positives = (label) => set.labels[label].positives[1];
  const found = set.rarest.find((label) => positives(label) >= ENOUGH) ?? set.rarest.findLast((label) => positives(label) > 0);
  return found === undefined ? 0 : found;
}

let written = null;
/** Writes the state into the URL, without a step of history for each. */
const saveState = settled(() => {
  written = stateText();
  putHash(written);
}, 120);

function putHash(text) {
  history.replaceState(null, "", text ? `#${text}` : (location.pathname.split("/").pop() || "./") + location.search);
}

/** How often the settings of each label, and those of all labels, have changed: what was computed before is old. */
const changes = [];
let changesOfAll = 0;
const changed = (label) => (changes[label] = (changes[label] ?? 0) + 1);
const changedAll = () => (changesOfAll += 1);
const settingOf = (label) => (changes[label] ?? 0) + 1e6 * changesOfAll;

/** Where the threshold of a label comes from. */
function whereOf(label) {
  if (state.cuts[label] !== undefined) return { stop: state.cuts[label] };
  if (state.chip === "least") return { least: true };
  if (state.chip === "best") return { best: true };
  return { policy: Number(state.chip) };
}
