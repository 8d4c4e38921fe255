/* Macro AP against macro F1 at 0.5: whether strategies rank better, or decide elsewhere. */
function scatterOption() {
  const { ink, faint } = theme();
  const half = { stop: HALF() };
  const chosen = picked();
  const data = shownStrategies()
    .concat(chosen)
    .filter((key, at, all) => all.indexOf(key) === at && unpacked.has(key) && unpacked.get(key).withScores > 0 && strategies.get(key).data === state.data)
    .flatMap((key) => {
      const known = unpacked.get(key);
      const labels = currentSet().labels.length;
      const f1 = mean(Array.from({ length: labels }, (_, label) => ratesAt(known, onVal(state.data, label), label, half, null, 1).f1));
      const aps = strategies.get(key).runs.map((run) => run.ap).filter((ap) => ap !== null);
      const at = chosen.indexOf(key);
      if (!aps.length) return [];
      return [
        {
          value: [mean(aps), f1],
          key,
          symbol: at < 0 ? "circle" : SYMBOLS[at % SYMBOLS.length],
          symbolSize: at < 0 ? 8 : 13,
          itemStyle: { color: at < 0 ? faint : COLORS[at % COLORS.length], borderColor: ink, borderWidth: at < 0 ? 0.5 : 0 },
          label: { show: at >= 0, formatter: strategies.get(key).name, position: "right", color: ink, width: 170, overflow: "truncate", textBorderWidth: 0 },
        },
      ];
    });
  const said = ({ data }) => `<b>${escaped(strategies.get(data.key).name)}</b><br>macro AP ${num(data.value[0])}<br>macro F1 at 0.5 ${num(data.value[1])}`;
  return {
    grid: { ...GRID, right: 190 },
    tooltip: tooltip({ trigger: "item", formatter: said }),
    xAxis: axis("macro AP on val"),
    yAxis: axis("macro F1 at 0.5 on val", { nameGap: 40 }),
    series: [{ type: "scatter", data, labelLayout: { hideOverlap: true }, emphasis: { disabled: true } }],
  };
}

function startScatter() {
  addChart("scatter", byId("scatter-chart"), scatterOption, (made) => made.on("click", ({ data }) => data && data.key && togglePick(data.key)));
}
