// A mask as a zoomable canvas. Value: {rows, cols, group, keep, bits, topn}, bits row by row in base64.
// Blue: kept for its score. Orange: kept for connectivity, top-N alone would have pruned it. Empty: pruned.
const root = element.querySelector('.mask-view'), canvas = root.querySelector('canvas'), ctx = canvas.getContext('2d');
const info = root.querySelector('.mask-info');
const TOP = 46, LEFT = 46, WHY = ['pruned', 'kept, as top-N would', 'kept, though top-N by the same score prunes it'];
let shown = null, R = 0, C = 0, kept, degrees, rowDegrees, view, levels, hover = null, frame = 0;

function decode(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}
function load() {
  const v = shown = props.value ? JSON.parse(props.value) : null;
  if (!v) { R = 0; draw(); return; }
  R = v.rows; C = v.cols;
  const bits = decode(v.bits), best = decode(v.topn), stride = (C + 7) >> 3;
  kept = new Uint8Array(R * C); degrees = new Int32Array(C); rowDegrees = new Int32Array(R);
  for (let r = 0, i = 0; r < R; r++) for (let c = 0; c < C; c++, i++) {
    const at = r * stride + (c >> 3), bit = 128 >> (c & 7);
    if (bits[at] & bit) { kept[i] = best[at] & bit ? 1 : 2; degrees[c]++; rowDegrees[r]++; }
  }
  levels = {};
  fit(); draw();
  root.dataset.layer = v.name; root.dataset.drawn = (+root.dataset.drawn || 0) + 1;
  root.dataset.kept = kept.reduce((n, k) => n + (k > 0), 0);
  root.dataset.minDegree = degrees.reduce((a, b) => Math.min(a, b), 1e9);
}
function size() {
  const width = root.clientWidth, height = R ? Math.max(220, Math.min(560, TOP + 10 + (width - LEFT - 8) * R / C)) : 220, ratio = window.devicePixelRatio || 1;
  canvas.style.width = width + 'px'; canvas.style.height = height + 'px';
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  }
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  return [width, height];
}
function fit() {
  const [w, h] = size(), cell = Math.min((w - LEFT - 8) / C, (h - TOP - 8) / R);
  view = { cell, x: 0, y: 0, min: cell };
  mark();
}
function clamp() {
  const [w, h] = size(), across = (w - LEFT) / view.cell, down = (h - TOP) / view.cell;
  view.x = Math.max(0, Math.min(Math.max(0, C - across), view.x));
  view.y = Math.max(0, Math.min(Math.max(0, R - down), view.y));
}
// One level of the pyramid: density of blocks of `step` × `step` weights, drawn once into an image of its own.
function level(step) {
  if (levels[step]) return levels[step];
  const w = Math.ceil(C / step), h = Math.ceil(R / step), score = new Uint32Array(w * h), link = new Uint32Array(w * h), all = new Uint32Array(w * h);
  for (let r = 0, i = 0; r < R; r++) { const base = Math.floor(r / step) * w; for (let c = 0; c < C; c++, i++) {
    const j = base + Math.floor(c / step); all[j]++; if (kept[i] === 1) score[j]++; else if (kept[i]) link[j]++;
  } }
  const image = new ImageData(w, h), a = hex(color('--mask-score')), b = hex(color('--mask-link'));
  for (let j = 0; j < w * h; j++) {
    const total = score[j] + link[j] || 1, f = Math.min(1, 3 * link[j] / total); // rare connectivity stays visible
    for (let k = 0; k < 3; k++) image.data[4 * j + k] = a[k] + f * (b[k] - a[k]);
    image.data[4 * j + 3] = 255 * Math.min(1, (score[j] + link[j]) / all[j]);
  }
  const off = document.createElement('canvas'); off.width = w; off.height = h; off.getContext('2d').putImageData(image, 0, 0);
  return (levels[step] = off);
}
const color = name => getComputedStyle(root).getPropertyValue(name).trim();
const hex = text => [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16));
function draw() {
  const [w, h] = size();
  ctx.clearRect(0, 0, w, h);
  if (!R) return;
  const ink = color('--body-text-color'), faint = color('--border-color-primary'), { cell, x, y } = view;
  const across = Math.min(C - x, (w - LEFT) / cell), down = Math.min(R - y, (h - TOP) / cell);
  const step = cell >= 1 ? 1 : 2 ** Math.ceil(-Math.log2(cell)), image = level(step);
  ctx.imageSmoothingEnabled = false;
  ctx.fillStyle = color('--mask-empty'); ctx.fillRect(LEFT, TOP, across * cell, down * cell);
  ctx.drawImage(image, x / step, y / step, across / step, down / step, LEFT, TOP, across * cell, down * cell);
  const group = shown.group;
  if (cell * group >= 14) {                                    // group lines
    ctx.strokeStyle = color('--mask-line'); ctx.lineWidth = 1; ctx.beginPath();
    for (let c = Math.ceil(x / group) * group; c <= x + across; c += group) { const px = Math.round(LEFT + (c - x) * cell) + 0.5; ctx.moveTo(px, TOP); ctx.lineTo(px, TOP + down * cell); }
    ctx.stroke();
  }
  if (cell >= 9) {                                             // single cells
    ctx.strokeStyle = color('--mask-empty'); ctx.lineWidth = 1; ctx.beginPath();
    for (let r = Math.ceil(y); r <= y + down; r++) { const py = Math.round(TOP + (r - y) * cell) + 0.5; ctx.moveTo(LEFT, py); ctx.lineTo(LEFT + across * cell, py); }
    ctx.stroke();
  }
  // Degrees along both edges; orphans stand out in vermilion.
  const most = Math.max(1, ...sampled(degrees)), mostRow = Math.max(1, ...sampled(rowDegrees));
  const bar = Math.max(1, cell * 0.9);
  for (let c = Math.floor(x); c < Math.min(C, x + across); c += Math.max(1, Math.floor(1 / cell))) {
    const tall = degrees[c] / most * (TOP - 20), px = LEFT + (c - x) * cell;
    ctx.fillStyle = degrees[c] ? color('--mask-degree') : color('--mask-orphan');
    if (degrees[c]) ctx.fillRect(px, TOP - 3 - tall, bar, tall); else ctx.fillRect(px, TOP - 12, Math.max(2, bar), 9);
  }
  ctx.fillStyle = color('--mask-degree');
  for (let r = Math.floor(y); r < Math.min(R, y + down); r += Math.max(1, Math.floor(1 / cell)))
    ctx.fillRect(LEFT - 3 - rowDegrees[r] / mostRow * 18, TOP + (r - y) * cell, rowDegrees[r] / mostRow * 18, Math.max(1, cell * 0.9));
  ctx.fillStyle = ink; ctx.font = '12px ' + (color('--font') || 'sans-serif'); ctx.textAlign = 'left';
  ctx.fillText(`inputs ${Math.floor(x)}–${Math.ceil(x + across) - 1} of ${C}, bars: weights kept per input`, LEFT, 12);
  ctx.save(); ctx.translate(12, TOP + 4); ctx.rotate(-Math.PI / 2); ctx.textAlign = 'right';
  ctx.fillText(`outputs ${Math.floor(y)}–${Math.ceil(y + down) - 1} of ${R}`, 0, 0); ctx.restore();
  ctx.strokeStyle = faint; ctx.strokeRect(LEFT + 0.5, TOP + 0.5, across * cell, down * cell);
  if (hover && hover.r < R && hover.c < C) {
    ctx.strokeStyle = ink; ctx.lineWidth = 1.5;
    ctx.strokeRect(LEFT + (hover.c - x) * cell, TOP + (hover.r - y) * cell, Math.max(3, cell), Math.max(3, cell));
  }
}
function sampled(values) { const s = Math.max(1, Math.floor(values.length / 4096)), out = []; for (let i = 0; i < values.length; i += s) out.push(values[i]); return out; }
// What is in view is told at once, as that is what the graph tab will be told; painting waits for the next frame.
function mark() { root.dataset.cell = view.cell.toFixed(3); root.dataset.x = Math.floor(view.x); root.dataset.y = Math.floor(view.y); }
const redraw = () => { if (R) mark(); cancelAnimationFrame(frame); frame = requestAnimationFrame(draw); };
function zoom(factor, px, py) {
  const before = [(px - LEFT) / view.cell + view.x, (py - TOP) / view.cell + view.y];
  view.cell = Math.max(view.min, Math.min(40, view.cell * factor));
  view.x = before[0] - (px - LEFT) / view.cell; view.y = before[1] - (py - TOP) / view.cell;
  clamp(); redraw(); tell();
}
let told = 0;
function tell() {                                              // the window that is in view, for the graph tab
  clearTimeout(told);
  told = setTimeout(() => trigger('window', { row: Math.floor(view.y), column: Math.floor(view.x) }), 250);
}
canvas.addEventListener('wheel', e => { if (!R) return; e.preventDefault(); zoom(e.deltaY < 0 ? 1.25 : 0.8, e.offsetX, e.offsetY); }, { passive: false });
let drag = null;
canvas.addEventListener('pointerdown', e => { if (!R) return; canvas.setPointerCapture(e.pointerId); drag = [e.clientX, e.clientY, view.x, view.y]; canvas.focus(); });
canvas.addEventListener('pointerup', () => { if (drag) { drag = null; tell(); } });
canvas.addEventListener('pointerleave', () => { hover = null; info.textContent = info.dataset.hint; redraw(); });
canvas.addEventListener('pointermove', e => {
  if (!R) return;
  if (drag) { view.x = drag[2] - (e.clientX - drag[0]) / view.cell; view.y = drag[3] - (e.clientY - drag[1]) / view.cell; clamp(); redraw(); return; }
  const c = Math.floor((e.offsetX - LEFT) / view.cell + view.x), r = Math.floor((e.offsetY - TOP) / view.cell + view.y);
  hover = r >= 0 && c >= 0 && r < R && c < C && e.offsetX > LEFT && e.offsetY > TOP ? { r, c } : null;
  info.textContent = hover ? `output ${r}, input ${c} (group ${Math.floor(c / shown.group)}): ${WHY[kept[r * C + c]]}; input ${c} keeps ${degrees[c]} of ${R} weights` : info.dataset.hint;
  redraw();
});
canvas.addEventListener('keydown', e => {
  if (!R) return;
  const step = 40 / view.cell, move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[e.key];
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (move) { view.x += move[0]; view.y += move[1]; clamp(); redraw(); tell(); } else if (e.key === '+' || e.key === '=') zoom(1.5, w / 2, h / 2);
  else if (e.key === '-') zoom(1 / 1.5, w / 2, h / 2); else if (e.key === '0') { fit(); redraw(); } else return;
  e.preventDefault();
});
root.querySelectorAll('button').forEach(b => { b.onclick = () => {
  if (!R) return;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (b.dataset.act === 'fit') { fit(); redraw(); tell(); } else if (b.dataset.act === 'cells') { view.cell = 14; view.x = hover ? hover.c : view.x; clamp(); redraw(); tell(); } else zoom(b.dataset.act === 'in' ? 1.6 : 1 / 1.6, w / 2, h / 2);
}; });
new ResizeObserver(() => { if (root.clientWidth && R) { const all = view.cell === view.min; if (all) fit(); else clamp(); draw(); } }).observe(root);
new MutationObserver(() => { levels = {}; redraw(); }).observe(document.body, { attributes: true, attributeFilter: ['class'] });
watch('value', load);
load();
