/* The page comes alive: the model is read, what the reader chose is restored, tables and charts are drawn. */
let model;
let strategies = new Map();
let learning = new Map();
/** Key of a strategy → its evidence, once it is unpacked. */
const unpacked = new Map();

/** Finds the items of the model by their keys. */
function index() {
  forget();
  strategies = new Map(model.strategies.map((strategy) => [strategy.key, strategy]));
  learning = new Map(model.learning.map((curve) => [curve.key, curve]));
}

/** Unpacks what has changed. */
async function unpackAll() {
  const present = new Set();
  for (const evidence of model.evidence) {
    present.add(evidence.key);
    const strategy = strategies.get(evidence.key);
    const held = unpacked.get(evidence.key);
    if (!strategy || (held && held.packed === evidence.packed)) continue;
    const found = await unpack(model, strategy, evidence);
    unpacked.set(evidence.key, { ...found, packed: evidence.packed, data: strategy.data, rates: [] });
  }
  for (const key of unpacked.keys()) if (!present.has(key)) unpacked.delete(key);
}

/** Draws what depends on the rows that are shown. */
function drawShown() {
  if (!model.data.length || !model.data[state.data]) return;
  drawLegends();
  drawLabels();
  drawLabel();
  refresh("scatter", ...QUANTITIES.map(([quantity]) => `learning ${quantity}`));
}

/** Draws what depends on the strategies that are chosen. */
function drawChosen() {
  drawLegends();
  drawCuts();
  drawQuestions();
  refresh("pr", "reliability", "scatter", ...QUANTITIES.map(([quantity]) => `learning ${quantity}`));
}

/** The columns that name strategies, in the head of the leaderboard. */
function drawHeads() {
  const head = byId("board").tHead.rows[0];
  for (const cell of [...head.cells]) if ((cell.dataset.sort || "").startsWith("name:")) cell.remove();
  const before = [...head.cells].find((cell) => cell.dataset.sort === "policy");
  model.columns.forEach((column, at) => {
    const cell = make("th", { "data-sort": `name:${at}`, class: column.numeric ? "n" : null, title: column.name }, column.title);
    before.before(cell);
    sortable(cell);
  });
}

/** Sliders and charts, once there is data. */
function startShown() {
  guarded(startSliders);
  guarded(startCurves);
  guarded(startScatter);
  guarded(startLearning);
}

async function start() {
  model = JSON.parse(byId("model").textContent);
  index();
  root.classList.add("scripted");
  addCopiers(document);
  let hash = location.hash.slice(1);
  if (root.hasAttribute("data-live") && hash !== takeToken(hash)) {
    hash = takeToken(hash);
    putHash(hash);
  }
  readState(hash);
  for (const link of document.querySelectorAll('nav a, a[href="#failures"], a.skip')) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const place = document.querySelector(link.getAttribute("href"));
      if (!place) return;
      place.scrollIntoView();
      place.setAttribute("tabindex", "-1");
      place.focus({ preventScroll: true });
    });
  }
  startBoard();
  fillBoard();
  drawBoard();
  drawSparks();
  if (model.data.length && typeof echarts !== "undefined") {
    await unpackAll();
    startShown();
    guarded(drawBoard);
    guarded(drawShown);
  }
  addEventListener("hashchange", () => {
    const text = location.hash.slice(1);
    if (text === written || !text.includes("=")) return;
    readState(text);
    fillBoard();
    makeLabels();
    drawBoard();
    drawShown();
  });
  if (hash && !hash.includes("=")) document.getElementById(decodeURIComponent(hash))?.scrollIntoView();
  if (root.hasAttribute("data-live")) guarded(startLive);
  root.dataset.ready = "yes";
}

addEventListener("error", (event) => failed(event.error || event.message));
addEventListener("unhandledrejection", (event) => failed(event.reason));
start().catch(failed);
