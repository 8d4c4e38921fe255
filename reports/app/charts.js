/* Charts: made when they come into view, drawn again when the theme, their size or what they show changes. */
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7a7a00"];
const DASHES = ["solid", [8, 4], [3, 3], [10, 3, 3, 3], [1, 3], [14, 4], [6, 2, 1, 2], [2, 6]];
const SYMBOLS = ["circle", "rect", "triangle", "diamond", "roundRect", "pin", "arrow", "emptyCircle"];
const charts = new Map();
const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

/** Colors of the page, for canvas. */
function theme() {
  const light = printing || !dark.matches;
  return light
    ? { ink: "#1b1f24", dim: "#59636e", line: "#d5dbe1", ground: "#ffffff", faint: "rgba(90,100,110,.28)" }
    : { ink: "#e4e7ea", dim: "#9aa4af", line: "#343a41", ground: "#14171a", faint: "rgba(170,180,190,.28)" };
}

/** Text inside a tooltip, which is HTML. */
const escaped = (text) => String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

const inView = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const chart = [...charts.values()].find((chart) => chart.element === entry.target);
      if (!chart) continue;
      chart.seen = entry.isIntersecting;
      if (chart.seen && chart.stale) guarded(() => redraw(chart));
    }
  },
  { rootMargin: "300px" },
);
const resized = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const chart = [...charts.values()].find((chart) => chart.element === entry.target);
    if (chart && chart.made && entry.contentRect.width > 0) chart.made.resize({ animation: { duration: 0 } });
  }
});

/**
 * A chart in `element`. `option` gives what it shows, whenever it is drawn.
 * @param after is told of the ECharts object once it is made: for events.
 */
function addChart(name, element, option, after) {
  const chart = { name, element, option, after, made: null, seen: false, stale: true };
  charts.set(name, chart);
  inView.observe(element);
  resized.observe(element);
  return chart;
}

function redraw(chart) {
  chart.stale = false;
  if (!chart.made) {
    chart.made = echarts.init(chart.element, null, { renderer: "canvas" });
    if (chart.after) chart.after(chart.made);
  }
  chart.made.setOption({ animation: false, ...chart.option() }, { notMerge: true });
  if (printing) onPaper(chart.element.closest(".chart"), chart.name, chart.made);
}

/** Draws a chart again: now if it is seen, else when it comes into view. */
function refresh(...names) {
  for (const name of names) {
    const chart = charts.get(name);
    if (!chart) continue;
    chart.stale = true;
    if (chart.seen) guarded(() => redraw(chart));
  }
}

/** An axis of numbers in the colors of the page. */
function axis(name, more = {}) {
  const { dim, line, ink } = theme();
  return {
    type: "value",
    name,
    nameLocation: "middle",
    nameGap: 28,
    nameTextStyle: { color: ink },
    axisLabel: { color: dim },
    axisLine: { show: true, lineStyle: { color: dim } },
    splitLine: { lineStyle: { color: line } },
    scale: true,
    ...more,
  };
}

/** A tooltip in the colors of the page. */
function tooltip(more) {
  const { ink, ground, line } = theme();
  return { backgroundColor: ground, borderColor: line, textStyle: { color: ink, fontSize: 12 }, confine: true, transitionDuration: 0, ...more };
}

/** A picture of a chart for paper, which has no next frame to draw a canvas in. */
function onPaper(place, name, made) {
  made.getZr().flush();
  let picture = place.querySelector(`img[data-of="${name}"]`);
  if (!picture) {
    picture = make("img", { class: "on-paper", alt: "", "data-of": name });
    place.append(picture);
  }
  picture.src = made.getDataURL({ pixelRatio: 2 });
}

dark.addEventListener("change", () => refresh(...charts.keys()));
addEventListener("beforeprint", () => {
  printing = true;
  for (const chart of charts.values()) guarded(() => redraw(chart));
});
addEventListener("afterprint", () => {
  printing = false;
  refresh(...charts.keys());
});
