// A bipartite graph on a canvas. Edges are painted once into a layer of their own; lighting up paints only what is lit.
// Value: {key, place, label, inputs, outputs: {id, x, y, degree}, bits, other | weights, side, chosen, spread, square, bundle}
const root = element.querySelector('.graph-view'), canvas = root.querySelector('canvas'), ctx = canvas.getContext('2d');
const info = root.querySelector('.graph-info'), player = root.querySelector('.player'), caption = root.querySelector('.player-text');
const calm = matchMedia('(prefers-reduced-motion: reduce)');
let shown = null, nodes = [], near = [], links = [], count = 0, hover = -1, cursor = -1, chosen = new Set();
let layer = null, before = null, fade = 1, step = -1, timer = 0, palette = {};
const color = name => getComputedStyle(root).getPropertyValue(name).trim();
function bytes(text) { const raw = atob(text), out = new Uint8Array(raw.length); for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i); return out; }
function load() {
  const old = shown, v = shown = props.value ? JSON.parse(props.value) : null;
  stop();
  if (!v) { nodes = []; near = []; links = []; count = 0; layer = null; root.dataset.nodes = root.dataset.edges = root.dataset.orphans = 0; draw(); return; }
  if (!old || old.key !== v.key) {
    const make = (side, s) => s.id.map((id, i) => ({ side, id, x: s.x[i], y: s.y[i], full: s.degree[i] }));
    nodes = make('inputs', v.inputs).concat(make('outputs', v.outputs)); count = v.inputs.id.length;
    connect(v);
    before = old && old.place === v.place && !calm.matches ? layer : null; layer = null; hover = cursor = -1;
    if (before) { const start = performance.now(); fade = 0; requestAnimationFrame(function tick(now) { fade = Math.min(1, (now - start) / 300); draw(); if (fade < 1) requestAnimationFrame(tick); else before = null; }); }
  }
  chosen = new Set(v.chosen.map(i => v.side === 'inputs' ? i : count + i));
  step = v.spread ? 0 : -1;
  player.hidden = !v.spread;
  Object.assign(root.dataset, { nodes: nodes.length, edges: links.length, orphans: nodes.filter((n, i) => n.side === 'inputs' && !near[i].length).length, label: v.label });
  say(-1); mark(); draw();
  root.dataset.drawn = (+root.dataset.drawn || 0) + 1;
  if (v.spread && v.spread.play) play();
}
function connect(v) {                                          // near[i]: neighbours; links: [input, output, kind or weight]
  near = nodes.map(() => []); links = [];
  const add = (c, r, what) => { links.push([c, count + r, what]); near[c].push(count + r); near[count + r].push(c); };
  const rows = v.outputs.id.length;
  if (v.bundle) { const w = bytes(v.weights); for (let r = 0; r < rows; r++) for (let c = 0; c < count; c++) if (w[r * count + c]) add(c, r, w[r * count + c]); return; }
  const bits = bytes(v.bits), other = bytes(v.other), stride = (count + 7) >> 3;
  for (let r = 0; r < rows; r++) for (let c = 0; c < count; c++) { const at = r * stride + (c >> 3), bit = 128 >> (c & 7); if (bits[at] & bit) add(c, r, other[at] & bit ? 0 : 1); }
}
function place() {
  const w = root.clientWidth, h = shown && shown.square ? Math.min(w, 520) : Math.max(300, Math.min(440, w * 0.62)), ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio); layer = before = null;
    canvas.style.width = w + 'px'; canvas.style.height = h + 'px';
  }
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  for (const n of nodes) { n.px = 18 + n.x * (w - 36); n.py = 30 + n.y * (h - 60); }
  return [w, h, ratio];
}
function lines(to, list) {                                     // many short paths: one long one is slow to paint
  for (let i = 0; i < list.length; i += 400) {
    to.beginPath();
    for (const [a, b] of list.slice(i, i + 400)) { to.moveTo(nodes[a].px, nodes[a].py); to.lineTo(nodes[b].px, nodes[b].py); }
    to.stroke();
  }
}
function paintLayer(w, h, ratio) {
  layer = document.createElement('canvas'); layer.width = canvas.width; layer.height = canvas.height;
  const to = layer.getContext('2d'); to.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (shown.bundle) {
    to.strokeStyle = palette.score;
    for (let k = 1; k <= 8; k++) { to.globalAlpha = 0.02 + 0.6 * (k / 8) ** 3; to.lineWidth = 0.4 + k / 5; lines(to, links.filter(e => Math.ceil(e[2] / 32) === k)); }
    return;
  }
  to.globalAlpha = links.length > 20000 ? 0.035 : links.length > 4000 ? 0.1 : links.length > 600 ? 0.24 : links.length > 200 ? 0.4 : 0.6;
  for (const kind of [0, 1]) { to.strokeStyle = kind ? palette.link : palette.score; to.lineWidth = kind ? 1.6 : 1; if (kind) to.globalAlpha = Math.min(0.9, to.globalAlpha * 1.5); lines(to, links.filter(e => e[2] === kind)); }
}
function lit() {                                               // what is lit: a chosen set, else the channel under the pointer
  if (chosen.size) return chosen;
  const active = hover >= 0 ? hover : cursor;
  return active >= 0 ? new Set([active]) : null;
}
function draw() {
  if (!root.clientWidth) return;
  const started = performance.now(), [w, h, ratio] = place();
  ctx.clearRect(0, 0, w, h);
  if (!shown) return;
  if (!palette.score) for (const [k, name] of Object.entries({ score: '--mask-score', link: '--mask-link', orphan: '--mask-orphan', inputs: '--graph-input', outputs: '--graph-output', ink: '--body-text-color', font: '--font', yolk: '--yolk' })) palette[k] = color(name);
  if (!layer) paintLayer(w, h, ratio);
  const centre = lit(), touched = new Set(centre || []), spreading = step >= 0;
  if (centre) for (const i of centre) for (const j of near[i]) touched.add(j);
  const image = (from, alpha) => { if (alpha > 0) { ctx.globalAlpha = alpha; ctx.drawImage(from, 0, 0, w, h); } };
  const dim = shown.bundle && (spreading || centre) ? 0.5 : spreading ? 0.35 : centre ? 0.25 : 1;   // bundles are pale by themselves
  if (before) image(before, dim * (1 - fade));
  image(layer, dim * (before ? fade : 1));
  if (centre && !spreading) {
    const on = []; for (const i of centre) for (const j of near[i]) on.push(i < j ? [i, j] : [j, i]);
    ctx.globalAlpha = on.length > 3000 ? 0.08 : on.length > 400 ? 0.3 : 0.9; ctx.lineWidth = on.length > 400 ? 1 : 2; ctx.strokeStyle = palette.score; lines(ctx, on);
  }
  paintNodes(centre, touched, spreading);
  ctx.globalAlpha = 1; ctx.fillStyle = palette.ink; ctx.font = '12px ' + (palette.font || 'sans-serif');
  const bundles = shown.bundle ? ', in bundles' : '';
  if (!shown.square) { ctx.fillText(`input channels ●${bundles}`, 12, 14); ctx.fillText(`output channels ■${bundles}`, 12, h - 6); }
  root.dataset.ms = (performance.now() - started).toFixed(1);
}
function paintNodes(centre, touched, spreading) {
  const radius = nodes.length > 600 ? 1.6 : nodes.length > 200 ? 3 : nodes.length > 90 ? 4.5 : 6;
  const now = spreading ? shown.spread.steps[step] : null;
  nodes.forEach((n, i) => {
    const orphan = n.side === 'inputs' && !near[i].length, mine = now && now.side === n.side;
    const level = mine ? now.level[n.side === 'inputs' ? i : i - count] : 0, t = level / (1 + level);   // 1/2 once mixed
    const size = spreading ? (mine ? radius * (0.45 + 1.5 * t) : radius * 0.45) : radius;
    ctx.globalAlpha = spreading ? (mine ? 0.25 + 0.75 * Math.min(1, 2 * t) : 0.3) : centre && !touched.has(i) ? 0.3 : 1;
    ctx.fillStyle = orphan ? palette.orphan : mine && t > 0.02 ? palette.yolk : palette[n.side];
    ctx.beginPath();
    if (n.side === 'inputs') ctx.arc(n.px, n.py, size, 0, 7); else ctx.rect(n.px - size, n.py - size, 2 * size, 2 * size);
    ctx.fill();
    const ring = chosen.has(i) || i === cursor ? palette.yolk : orphan ? palette.orphan : null;
    if (ring) { ctx.globalAlpha = 1; ctx.strokeStyle = ring; ctx.lineWidth = chosen.has(i) ? 2.5 : 1.5; ctx.beginPath(); ctx.arc(n.px, n.py, radius + 3.5, 0, 7); ctx.stroke(); }
  });
}
function at(e) {
  let best = -1, distance = 14;
  nodes.forEach((n, i) => { const d = Math.hypot(n.px - e.offsetX, n.py - e.offsetY); if (d < distance) { best = i; distance = d; } });
  return best;
}
function mark() {                                              // T and Γ(T) among the channels drawn
  const reached = new Set(); for (const i of chosen) for (const j of near[i]) reached.add(j);
  root.dataset.chosen = chosen.size; root.dataset.reached = reached.size; root.dataset.step = step;
  if (step >= 0) { const s = shown.spread.steps[step]; root.dataset.uneven = s.uneven; caption.textContent = `Step ${step} of ${shown.spread.steps.length - 1}: on the ${s.side}, ${(100 * s.uneven).toFixed(1)} % away from even`; }
  return reached.size;
}
function say(i) {
  const name = n => shown.bundle && shown.bundle[n.side] > 1 ? `${n.side} ${n.id}–${n.id + shown.bundle[n.side] - 1}` : `${n.side.slice(0, -1)} ${n.id}`;
  if (i < 0) { const size = shown ? mark() : 0; info.textContent = chosen.size ? `T: ${chosen.size} ${shown.bundle ? 'bundles of ' : ''}${shown.side}; Γ(T) in view: ${size} of the other side's ${shown.side === 'inputs' ? nodes.length - count : count}. Click a channel to add or remove it.` : info.dataset.hint; return; }
  const n = nodes[i], got = near[i].length;
  info.textContent = shown.bundle ? `${name(n)}: ${n.full} connections in the whole layer` : n.side === 'inputs' && !got ? `${name(n)} has no connection in this window` + (n.full ? `, and ${n.full} in the whole layer` : ' and none in the whole layer: an orphan')
    : `${name(n)}: ${got} connections in this window, ${n.full} in the whole layer`;
}
function choose(members, side, tell) {
  stop(); step = -1; player.hidden = true; shown.side = side;
  chosen = new Set(members.map(i => side === 'inputs' ? i : count + i));
  say(-1); draw();
  if (tell) { document.dispatchEvent(new CustomEvent('eggs-set', { detail: { members, side, from: root, place: shown.place } })); trigger('choose', { side, members, turn: performance.now() }); }
}
function toggle(i) {
  if (i < 0) return;
  const side = nodes[i].side, index = side === 'inputs' ? i : i - count, kept = shown.side === side ? [...chosen].map(k => side === 'inputs' ? k : k - count) : [];
  choose(kept.includes(index) ? kept.filter(k => k !== index) : [...kept, index], side, true);
}
document.addEventListener('eggs-set', e => { if (shown && e.detail.from !== root && e.detail.place === shown.place) choose(e.detail.members, e.detail.side, false); });
function stop() { clearInterval(timer); timer = 0; if (player) player.querySelector('[data-act=play]').textContent = '▶ Play'; }
function go(to) { const last = shown.spread.steps.length - 1; step = Math.max(0, Math.min(last, to)); mark(); draw(); if (step === last) stop(); }
function play() { stop(); if (step >= shown.spread.steps.length - 1) step = 0; mark(); draw(); player.querySelector('[data-act=play]').textContent = '❚❚ Pause'; timer = setInterval(() => go(step + 1), 900); }
player.querySelectorAll('button').forEach(b => { b.onclick = () => { if (!shown || !shown.spread) return; if (b.dataset.act === 'play') { if (timer) stop(); else play(); } else { stop(); go(step + (b.dataset.act === 'next' ? 1 : -1)); } }; });
canvas.addEventListener('pointermove', e => { const i = at(e); if (i !== hover) { hover = i; root.dataset.hover = i; say(i); draw(); } });
canvas.addEventListener('pointerleave', () => { hover = -1; if (shown) { say(-1); draw(); } });
canvas.addEventListener('click', e => { if (shown) toggle(at(e)); });
canvas.addEventListener('blur', () => { cursor = -1; draw(); });
canvas.addEventListener('keydown', e => {
  const move = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (!nodes.length) return;
  if (e.key === 'Escape') { choose([], shown.side, true); cursor = -1; } else if (e.key === 'Enter' || e.key === ' ') toggle(cursor);
  else if (e.key === 'ArrowDown' || e.key === 'ArrowUp') cursor = cursor < count ? count : 0;
  else if (move) cursor = (cursor + move + nodes.length) % nodes.length; else return;
  e.preventDefault(); say(cursor); draw();
});
new ResizeObserver(() => draw()).observe(root);
new MutationObserver(() => { palette = {}; layer = before = null; draw(); }).observe(document.body, { attributes: true, attributeFilter: ['class'] });
downloads(root, canvas, {
  name: () => `graph-${shown ? shown.label : ''}`,
  csv: () => [['input', 'output', shown.bundle ? 'weight_0_255' : 'other_selection_lacks_it'], ...links.map(([a, b, what]) => [nodes[a].id, nodes[b].id, what])],
  svg: (w, h) => links.map(([a, b, what]) => `<line x1="${nodes[a].px.toFixed(1)}" y1="${nodes[a].py.toFixed(1)}" x2="${nodes[b].px.toFixed(1)}" y2="${nodes[b].py.toFixed(1)}" stroke="${!shown.bundle && what ? palette.link : palette.score}" stroke-opacity="${shown.bundle ? (0.6 * (what / 255) ** 3).toFixed(3) : 0.4}"/>`).join('')
    + nodes.map(n => `<circle cx="${n.px.toFixed(1)}" cy="${n.py.toFixed(1)}" r="4" fill="${palette[n.side]}"><title>${n.side} ${n.id}</title></circle>`).join(''),
});
watch('value', load);
load();
