// A plotly figure that follows the page's theme, keeps its zoom, and reports clicks as `point`.
const gd = element.querySelector('.plot');
let P = null; // pinned: gr.Plot would replace window.Plotly with its own
let bound = false;
const css = name => getComputedStyle(document.body).getPropertyValue(name).trim();
function themed(layout) {
  const ink = css('--body-text-color'), grid = css('--border-color-primary');
  const axes = {};
  for (const name of Object.keys(layout).filter(k => /^[xy]axis/.test(k)).concat(['xaxis', 'yaxis']))
    axes[name] = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, ...layout[name] };
  return {
    autosize: true, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', hoverlabel: { font: { size: 13 } },
    ...layout, ...axes, font: { family: css('--font') || 'system-ui', size: 13, color: ink, ...layout.font },
  };
}
async function draw() {
  while (!P) { P = window.Plotly; if (!P) await new Promise(done => setTimeout(done, 30)); }
  if (!props.value) { if (bound) { P.purge(gd); bound = false; } return; }
  const figure = JSON.parse(props.value);
  await P.react(gd, figure.data, themed(figure.layout || {}), {
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d'],
    toImageButtonOptions: { format: 'png', scale: 2 },
  });
  gd.dataset.drawn = (+gd.dataset.drawn || 0) + 1;
  if (!bound) {
    bound = true;
    gd.on('plotly_click', e => trigger('point', { points: e.points.map(p => ({ curve: p.curveNumber, x: p.x, y: p.y, customdata: p.customdata })) }));
    new ResizeObserver(() => { if (gd.offsetParent && bound) P.Plots.resize(gd); }).observe(element);
    new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ['class'] });
  }
}
function rows() {                                              // every trace as (trace, x, y), as drawn
  const figure = JSON.parse(props.value), list = a => (a && a.bdata ? null : a) || [];
  const drawn = gd.data || figure.data;
  return [['series', 'x', 'y'], ...drawn.flatMap((t, k) => Array.from(list(t.y).length ? t.y : t.x || [], (_, i) => [t.name || `series ${k + 1}`, (t.x || [])[i], (t.y || [])[i]]).filter(r => r[1] !== null && r[1] !== undefined))];
}
const name = () => element.closest('[id]:not([id^=html-])')?.id || 'figure'; // Gradio's inner box has an id of its own
const picture = format => async () => { if (bound) save(`${name()}.${format}`, await (await fetch(await P.toImage(gd, { format, scale: format === 'png' ? 2 : 1, width: gd.clientWidth, height: gd.clientHeight }))).blob()); };
downloadBar(element.querySelector('.plot-box'), { PNG: picture('png'), SVG: picture('svg'), CSV: () => { if (bound) save(`${name()}.csv`, table(rows()), 'text/csv'); } });
const later = () => requestAnimationFrame(() => setTimeout(draw)); // what arrived with the figure is painted first
watch('value', later);
draw();
