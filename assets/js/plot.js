// A plotly figure that follows the page's theme, keeps its zoom, and reports clicks as `point`. Its legend is HTML above it,
// which wraps and hides nothing; figures whose layout names the same `meta.legend` have one, in the element of that id.
const gd = element.querySelector('.plot');
let listed = element.querySelector('.plot-legend');              // where the legend stands
let P = null; // pinned: gr.Plot would replace window.Plotly with its own
let bound = false, columns = 0;
const off = new Set();                                           // names that a click in the legend has hidden
const css = name => getComputedStyle(document.body).getPropertyValue(name).trim();
const SHAPES = { circle: 'M12 7A5 5 0 1 1 2 7A5 5 0 1 1 12 7Z', square: 'M2.5 2.5H11.5V11.5H2.5Z', diamond: 'M7 1L13 7L7 13L1 7Z', cross: 'M5 2H9V5H12V9H9V12H5V9H2V5H5Z',
  x: 'M2 4L4 2L7 5L10 2L12 4L9 7L12 10L10 12L7 9L4 12L2 10L5 7Z', 'triangle-up': 'M7 2L13 12H1Z', star: 'M7 1L8.7 5.2L13 5.5L9.7 8.3L10.8 12.6L7 10.2L3.2 12.6L4.3 8.3L1 5.5L5.3 5.2Z',
  'star-diamond': 'M7 0Q8 6 14 7Q8 8 7 14Q6 8 0 7Q6 6 7 0Z', pentagon: 'M7 1.5L12.7 5.6L10.5 12.3H3.5L1.3 5.6Z', hexagon: 'M7 1L12.2 4V10L7 13L1.8 10V4Z' };
function broken(axis, only) {                                     // the title of a lone axis, in lines that a narrow figure has room for
  const text = only && axis && (axis.title?.text ?? axis.title), width = gd.clientWidth, most = width / 16;
  if (typeof text !== 'string' || text.length <= most || !width || width > 420) return axis;
  const lines = [''];
  for (const word of text.split(' ')) if ((lines.at(-1) + word).length < most) lines.push(`${lines.pop()} ${word}`.trim()); else lines.push(word);
  return { ...axis, title: { ...(axis.title.text ? axis.title : {}), text: lines.filter(Boolean).join('<br>') } };
}
function themed(layout) {
  const ink = css('--body-text-color'), grid = css('--border-color-primary');
  const axes = {};
  for (const name of Object.keys(layout).filter(k => /^[xy]axis/.test(k)).concat(['xaxis', 'yaxis']))
    axes[name] = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, ...(/^x/.test(name) ? broken(layout[name], !layout.xaxis2) : layout[name]) };
  return {
    autosize: true, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', hoverlabel: { font: { size: 13 } },
    ...layout, ...axes, font: { family: css('--font') || 'system-ui', size: 13, color: ink, ...layout.font }, showlegend: false,
  };
}
function fit(tiles) {                                            // small multiples: how many fit beside each other
  return tiles ? Math.max(1, Math.min(tiles.count, Math.floor(gd.clientWidth / tiles.width))) : 0;
}
function tiled(layout) {
  const tiles = layout.meta && layout.meta.tiles;
  columns = fit(tiles);
  if (!columns) return layout;
  const rows = Math.ceil(tiles.count / columns);
  gd.style.height = `${rows * tiles.height + 24}px`;
  return { ...layout, grid: { ...layout.grid, columns, rows } };
}
async function draw() {
  element.querySelector('.plot-box').classList.toggle('unfilled', !props.value); // no frame, no downloads without data
  const column = element.closest('.row > .column');              // no title either
  column?.toggleAttribute('data-unfilled', !column.querySelector('.plot-box:not(.unfilled)'));
  while (!P) { P = window.Plotly; if (!P) await new Promise(done => setTimeout(done, 30)); }
  if (!props.value) { if (bound) { P.purge(gd); listed.replaceChildren(); bound = false; } return; }
  const figure = JSON.parse(props.value);
  for (const trace of figure.data) if (off.has(trace.name)) trace.visible = 'legendonly';
  await P.react(gd, figure.data, themed(tiled(figure.layout || {})), {
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d', 'toImage'],
    displayModeBar: gd.clientWidth < 560 ? false : 'hover',
  });
  legend(figure.layout || {});
  gd.dataset.drawn = (+gd.dataset.drawn || 0) + 1;
  if (!bound) {
    bound = true;
    gd.on('plotly_click', e => trigger('point', { points: e.points.map(p => ({ curve: p.curveNumber, x: p.x, y: p.y, customdata: p.customdata })) }));
    new ResizeObserver(() => {
      if (!gd.offsetParent || !bound) return;
      const tiles = gd.layout.meta && gd.layout.meta.tiles;
      if (tiles && fit(tiles) !== columns) draw(); else P.Plots.resize(gd);
    }).observe(element);
    new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ['class'] });
  }
}
function mark(trace) {                                           // what a trace looks like, in 14 by 14 pixels
  const marker = trace.marker || {}, line = trace.line || {}, first = value => (Array.isArray(value) ? value[0] : value);
  if (trace.type === 'scatter' && !trace.mode.includes('markers')) {
    if (trace.fill && trace.fill !== 'none') return `<rect y="2" width="14" height="10" fill="${trace.fillcolor}"/>`;
    return `<path d="M0 7H14" fill="none" stroke="${line.color}" stroke-width="2.5" stroke-dasharray="${line.dash === 'solid' ? 'none' : '3 2'}"/>`;
  }
  const symbol = String(first(marker.symbol) || 'square'), open = symbol.endsWith('-open'), ink = first(marker.color);
  return `<path d="${SHAPES[symbol.replace('-open', '')] || SHAPES.square}" fill="${open ? 'none' : ink}" stroke="${open ? ink : 'none'}" stroke-width="1.6"/>`;
}
function legend(layout) {
  const kept = gd._fullData.filter((t, i) => t.showlegend && t.name && gd.data[i].name), shared = layout.meta && layout.meta.legend;
  if (shared && layout.showlegend === false) return;
  listed = (shared && document.getElementById(shared)) || listed;
  const wanted = layout.showlegend ?? kept.length > 1;
  listed.replaceChildren(...(wanted ? kept : []).map(trace => {
    const key = trace.x && trace.x.every(x => x === null);       // of what several traces share: nothing of its own to hide
    const entry = document.createElement(key ? 'span' : 'button'), sign = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    sign.setAttribute('viewBox', '0 0 14 14'); sign.setAttribute('aria-hidden', 'true'); sign.innerHTML = mark(trace);
    entry.append(sign, trace.name);
    if (key) return entry;
    entry.type = 'button'; entry.title = 'Hide or show';
    entry.setAttribute('aria-pressed', String(!off.has(trace.name)));
    entry.onclick = () => {
      const hidden = !off.has(trace.name);
      entry.setAttribute('aria-pressed', String(!hidden));
      document.dispatchEvent(new CustomEvent('eggs-legend', { detail: { from: gd, shared, name: trace.name, hidden } }));
    };
    return entry;
  }));
}
document.addEventListener('eggs-legend', ({ detail: { from, shared, name, hidden } }) => {
  if (!bound || (from !== gd && !(shared && gd.layout.meta && gd.layout.meta.legend === shared))) return;
  if (hidden) off.add(name); else off.delete(name);
  const traces = gd.data.flatMap((t, i) => (t.name === name || t.legendgroup === name ? [i] : []));
  if (traces.length) P.restyle(gd, { visible: hidden ? 'legendonly' : true }, traces);
});
function rows() {                                              // every trace as (trace, x, y), as drawn
  const figure = JSON.parse(props.value), list = a => (a && a.bdata ? null : a) || [];
  const drawn = gd.data || figure.data;
  return [['series', 'x', 'y'], ...drawn.flatMap((t, k) => Array.from(list(t.y).length ? t.y : t.x || [], (_, i) => [t.name || `series ${k + 1}`, (t.x || [])[i], (t.y || [])[i]]).filter(r => r[1] !== null && r[1] !== undefined))];
}
const name = () => element.closest('[id]:not([id^=html-])')?.id || 'figure'; // Gradio's inner box has an id of its own
function picture(format) {                                     // by itself: on a ground of its own, with its legend
  return async () => {
    if (!bound) return;
    const { showlegend } = JSON.parse(props.value).layout, size = { width: gd.clientWidth, height: gd.clientHeight + 60 };
    const whole = { data: gd.data, layout: { ...gd.layout, showlegend, paper_bgcolor: ground() } };
    save(`${name()}.${format}`, await (await fetch(await P.toImage(whole, { format, scale: format === 'png' ? 2 : 1, ...size }))).blob());
  };
}
downloadBar(element.querySelector('.plot-box'), { PNG: picture('png'), SVG: picture('svg'), CSV: () => { if (bound) save(`${name()}.csv`, table(rows()), 'text/csv'); } });
// What arrived with the figure is painted first, and shown: a figure takes the browser longer than all the rest.
const later = () => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(draw)));
watch('value', later);
draw();
