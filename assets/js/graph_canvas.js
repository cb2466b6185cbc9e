// A bipartite graph on a canvas: value {title, inputs: [[id, x, y, degree]], outputs: [...], edges: [[i, o, why]], vertical}.
const root = element.querySelector('.graph-view'), canvas = root.querySelector('canvas'), ctx = canvas.getContext('2d');
const info = root.querySelector('.graph-info');
let shown = null, nodes = [], edges = [], near = [], hover = -1, pinned = -1;
const color = name => getComputedStyle(root).getPropertyValue(name).trim();
function load() {
  const v = shown = props.value ? JSON.parse(props.value) : null;
  nodes = []; edges = []; hover = pinned = -1;
  if (v) {
    nodes = v.inputs.map(n => ({ side: 'input', id: n[0], x: n[1], y: n[2], full: n[3] })).concat(v.outputs.map(n => ({ side: 'output', id: n[0], x: n[1], y: n[2], full: n[3] })));
    edges = v.edges.map(([i, o, why]) => [i, v.inputs.length + o, why]);
  }
  near = nodes.map(() => []);
  for (const [a, b] of edges) { near[a].push(b); near[b].push(a); }
  info.textContent = info.dataset.hint;
  root.dataset.nodes = nodes.length; root.dataset.edges = edges.length;
  root.dataset.orphans = nodes.filter((n, i) => n.side === 'input' && !near[i].length).length;
  root.dataset.drawn = (+root.dataset.drawn || 0) + 1;
  draw();
}
function place() {
  const w = root.clientWidth, h = shown && shown.square ? Math.min(w, 520) : Math.max(300, Math.min(440, w * 0.62)), ratio = window.devicePixelRatio || 1;
  canvas.style.width = w + 'px'; canvas.style.height = h + 'px'; canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  for (const n of nodes) { n.px = 18 + n.x * (w - 36); n.py = 30 + n.y * (h - 60); }
  return [w, h];
}
function draw() {
  if (!root.clientWidth) return;
  const [w, h] = place(), active = pinned >= 0 ? pinned : hover, lit = new Set(active >= 0 ? [active, ...near[active]] : []);
  ctx.clearRect(0, 0, w, h);
  const alpha = edges.length > 600 ? 0.22 : edges.length > 200 ? 0.4 : 0.6;
  for (const pass of [0, 1]) for (const [a, b, why] of edges) {
    const on = active >= 0 && (a === active || b === active);
    if (on !== (pass === 1)) continue;
    ctx.globalAlpha = on ? 0.95 : active >= 0 ? alpha * 0.25 : alpha;
    ctx.strokeStyle = color(why ? '--mask-link' : '--mask-score'); ctx.lineWidth = on ? 2 : why ? 1.6 : 1;
    ctx.beginPath(); ctx.moveTo(nodes[a].px, nodes[a].py); ctx.lineTo(nodes[b].px, nodes[b].py); ctx.stroke();
  }
  ctx.globalAlpha = 1;
  const radius = nodes.length > 200 ? 3 : nodes.length > 90 ? 4.5 : 6;
  nodes.forEach((n, i) => {
    const orphan = n.side === 'input' && !near[i].length;
    ctx.globalAlpha = active >= 0 && !lit.has(i) ? 0.35 : 1;
    ctx.fillStyle = orphan ? color('--mask-orphan') : color(n.side === 'input' ? '--graph-input' : '--graph-output');
    ctx.beginPath();
    if (n.side === 'input') ctx.arc(n.px, n.py, radius, 0, 7); else ctx.rect(n.px - radius, n.py - radius, 2 * radius, 2 * radius);
    ctx.fill();
    if (orphan) { ctx.strokeStyle = color('--mask-orphan'); ctx.lineWidth = 1.5; ctx.beginPath(); ctx.arc(n.px, n.py, radius + 4, 0, 7); ctx.stroke(); }
  });
  ctx.globalAlpha = 1;
  ctx.fillStyle = color('--body-text-color'); ctx.font = '12px ' + (color('--font') || 'sans-serif');
  if (!(shown && shown.square)) { ctx.fillText('input channels ●', 12, 14); ctx.fillText('output channels ■', 12, h - 6); }
}
function at(e) {
  let best = -1, distance = 14;
  nodes.forEach((n, i) => { const d = Math.hypot(n.px - e.offsetX, n.py - e.offsetY); if (d < distance) { best = i; distance = d; } });
  return best;
}
function say(i) {
  if (i < 0) { info.textContent = info.dataset.hint; return; }
  const n = nodes[i], here = near[i].length;
  info.textContent = n.side === 'input' && !here ? `input ${n.id} has no connection in this window` + (n.full ? `, and ${n.full} in the whole layer` : ' and none in the whole layer: an orphan')
    : `${n.side} ${n.id}: ${here} connections in this window, ${n.full} in the whole layer`;
}
canvas.addEventListener('pointermove', e => { const i = at(e); if (i !== hover) { hover = i; if (pinned < 0) { say(i); draw(); } } });
canvas.addEventListener('pointerleave', () => { hover = -1; if (pinned < 0) { say(-1); draw(); } });
canvas.addEventListener('click', e => { const i = at(e); pinned = i === pinned ? -1 : i; say(pinned); draw(); root.dataset.pinned = pinned; });
canvas.addEventListener('keydown', e => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (e.key === 'Escape') pinned = -1; else if (step && nodes.length) pinned = (pinned + step + nodes.length) % nodes.length; else return;
  e.preventDefault(); say(pinned); draw();
});
new ResizeObserver(() => draw()).observe(root);
new MutationObserver(() => draw()).observe(document.body, { attributes: true, attributeFilter: ['class'] });
watch('value', load);
load();
