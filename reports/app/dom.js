/* What every part of the page uses: elements, text, errors. Text from data is set as text, never as HTML. */
const root = document.documentElement;
const byId = (id) => document.getElementById(id);

/** An element with attributes and children; a string child is text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name === "style") for (const [key, set] of Object.entries(value)) element.style.setProperty(key, set);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Sets text where it differs: what stays as it is costs no layout. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A script that fails leaves the tables as they are, and says so in a line. */
function failed(error) {
  const place = byId("fault");
  if (!place) return;
  place.hidden = false;
  write(place, `A script of this page failed: ${error && error.message ? error.message : error}. The tables are complete; sliders and charts may not be.`);
  root.classList.remove("scripted");
}

/** Runs a part of the page; where it fails the others go on. */
function guarded(part) {
  try {
    return part();
  } catch (error) {
    failed(error);
    return undefined;
  }
}

/** Once per frame, however often it is asked for. */
function perFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      guarded(work);
    });
  };
}

/** Waits until nothing was asked for some milliseconds. */
function settled(work, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => guarded(() => work(...values)), milliseconds);
  };
}

/** Adds a button that copies to each command and query. */
function addCopiers(within) {
  for (const place of within.querySelectorAll("pre.copy:not(:has(.copier))")) {
    const text = place.textContent;
    const button = make("button", { type: "button", class: "copier" }, "copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        write(button, "copied");
      } catch {
        getSelection().selectAllChildren(place);
        write(button, "selected");
      }
      setTimeout(() => write(button, "copy"), 1500);
    });
    place.append(button);
  }
}
