/* A live page: changes come as events (docs/serve.md). They change rows by key; sliders, zoom, scroll and marks are the reader's. */
let token = sessionStorageGet("sweep-token");

function sessionStorageGet(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

/** The token stands in the URL once; it is kept for this tab and taken out of the URL. */
function takeToken(text) {
  const found = /(?:^|&)token=([\w-]+)/.exec(text);
  if (!found) return text;
  token = found[1];
  try {
    sessionStorage.setItem("sweep-token", token);
  } catch {
    /* the token lasts as long as the page then */
  }
  return text.replace(found[0], "").replace(/^&/, "");
}

/** Applies a change; a whole model is a change of everything. */
let held = "";
const instanceOf = (id) => id.slice(0, id.lastIndexOf("-"));
const revOf = (id) => Number(id.slice(id.lastIndexOf("-") + 1));

async function apply(changed) {
  const begun = performance.now();
  held = changed.id;
  const shape = () => JSON.stringify([model.data, model.policies]);
  const [before, columns] = [shape(), JSON.stringify(model.columns)];
  for (const [name, value] of Object.entries(changed.set || {})) model[name] = value;
  for (const [name, { order, changed: items }] of Object.entries(changed.rows || {})) {
    const known = new Map((model[name] || []).map((item) => [item.key, item]));
    for (const item of items) known.set(item.key, item);
    const keys = order || [...known.keys()];
    model[name] = keys.flatMap((key) => (known.has(key) ? [known.get(key)] : []));
  }
  index();
  await unpackAll();
  for (const [id, html] of Object.entries(changed.parts || {})) replacePart(id, html);
  if (shape() !== before) {
    if (charts.size) {
      makeChips();
      makeLabels();
    } else startShown();
  }
  if (JSON.stringify(model.columns) !== columns) drawHeads();
  if (model.learning.length && charts.size && !charts.has(`learning ${QUANTITIES[0][0]}`)) {
    byId("multiples").replaceChildren();
    startLearning();
  }
  drawBoard();
  drawShown();
  drawSparks();
  root.dataset.rev = changed.id;
  root.dataset.update = (performance.now() - begun).toFixed(1);
}

/** Puts new HTML into a part of the page; what was opened stays open, what was scrolled stays there. */
function replacePart(id, html) {
  const place = byId(id);
  if (!place) return;
  const named = (element) => element.querySelector("summary, caption")?.textContent ?? element.getAttribute("aria-label");
  const open = new Map([...place.querySelectorAll("details")].map((element) => [named(element), element.open]));
  const scrolled = new Map([...place.querySelectorAll(".scroll")].map((element) => [named(element), [element.scrollLeft, element.scrollTop]]));
  // Rendered by our own server from the same template as the page: every text in it is escaped.
  place.innerHTML = html;
  for (const element of place.querySelectorAll("details")) if (open.has(named(element))) element.open = open.get(named(element));
  for (const element of place.querySelectorAll(".scroll")) if (scrolled.has(named(element))) [element.scrollLeft, element.scrollTop] = scrolled.get(named(element));
  addCopiers(place);
}

async function fetchModel() {
  const answer = await fetch("./model", { cache: "no-store" });
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  const { id, model: whole, parts } = await answer.json();
  const same = whole.sweep.title === model.sweep.title && whole.schema_version === model.schema_version && whole.provenance.page_version === model.provenance.page_version;
  // Another sweep, or another program: the document is another, too.
  if (!same) return location.reload();
  await apply({ id, set: whole, parts });
}

/** Says how the connection is, and offers to stop the sweep. */
function drawLink(words) {
  const place = byId("link");
  place.hidden = false;
  place.replaceChildren(words ? `${words} ` : "");
  if (model.sweep.state === "running") {
    place.append(make("button", { type: "button", "data-testid": "stop-sweep", on: { click: (event) => askToStop(event.currentTarget, { sweep: true }) } }, "Stop the sweep"));
  } else if (!words) place.hidden = true;
}

/** Asks the server to stop a run or the sweep; where no controller listens, shows the command that will do. */
async function askToStop(button, what) {
  if (!button.dataset.sure) {
    button.dataset.sure = "yes";
    write(button, what.sweep ? "Really stop the sweep?" : "really?");
    setTimeout(() => {
      delete button.dataset.sure;
      write(button, what.sweep ? "Stop the sweep" : "stop");
    }, 4000);
    return;
  }
  const answer = await fetch("./stop", { method: "POST", headers: { "Content-Type": "application/json", "X-Sweep-Token": token || "" }, body: JSON.stringify(what) });
  const said = await answer.json().catch(() => ({}));
  const place = byId("link");
  place.hidden = false;
  if (answer.ok) place.replaceChildren("It is told: it stops after the current epoch.");
  else if (said.command) place.replaceChildren(`${said.why} `, make("code", {}, said.command));
  else place.replaceChildren(said.why || said.error || (answer.status === 403 ? "This tab has no token: open the URL that `sweep serve` printed." : `The server answers ${answer.status}.`));
}

function startLive() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button.stop");
    if (button) guarded(() => askToStop(button, { run: button.dataset.run }));
  });
  drawLink("");
  held = document.querySelector('meta[name="sweep-rev"]').content;
  let busy = Promise.resolve();
  const inTurn = (work) => {
    busy = busy.then(work).catch((error) => drawLink(`${error.message}: trying again.`));
  };
  const source = new EventSource(`./events?since=${encodeURIComponent(held)}`);
  source.addEventListener("change", (event) => inTurn(async () => {
    const changed = JSON.parse(event.data);
    // A model that was just loaded has it already.
    if (instanceOf(changed.id) === instanceOf(held) && revOf(changed.id) <= revOf(held)) return;
    await apply(changed);
    drawLink("");
  }));
  source.addEventListener("reset", () => inTurn(async () => {
    await fetchModel();
    drawLink("");
  }));
  source.addEventListener("open", () => drawLink(""));
  source.addEventListener("error", () => drawLink("The server is away; this page goes on when it is back."));
}
