// A mask as a zoomable canvas, read from packed bits: density of blocks when zoomed out, single weights when zoomed in.
// Value: {name, label, rows, cols, keep, group, bits, other, difference, colors, inDegrees, outDegrees, lock}.
const root = element.querySelector('.mask-view'), canvas = root.querySelector('canvas'), ctx = canvas.getContext('2d');
const info = root.querySelector('.mask-info');
const TOP = 46, LEFT = 46, WIDEST = 40, BASE = 8;              // the pyramid starts with blocks of 8 × 8 weights
const POP = Uint8Array.from({ length: 256 }, (_, i) => i.toString(2).replaceAll('0', '').length);
let shown = null, R = 0, C = 0, A, B, stride, degrees, rowDegrees, view = null, counts = {}, images = {}, palette = {}, hover = null, frame = 0, detail = null;

function decode(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}
function load() {
  const v = shown = props.value ? JSON.parse(props.value) : null, same = v && root.dataset.layer === v.name && R === v.rows && C === v.cols;
  if (!v) { R = 0; root.dataset.layer = ''; draw(); return; }
  R = v.rows; C = v.cols; stride = (C + 7) >> 3; A = decode(v.bits); B = v.other ? decode(v.other) : A;   // without another, all that is kept is of one kind
 
  degrees = new Int32Array(decode(v.inDegrees).buffer); rowDegrees = new Int32Array(decode(v.outDegrees).buffer);
  counts = {}; images = {}; hover = null;
  if (!same || !view) { detail = null; fit(); follow(peer()); }
  let kept = 0; for (let i = 0; i < A.length; i++) kept += POP[A[i]];
  draw();
  Object.assign(root.dataset, { layer: v.name, label: v.label, kept, difference: v.difference, minDegree: degrees.reduce((a, b) => Math.min(a, b), 1e9), drawn: (+root.dataset.drawn || 0) + 1 });
}
const at = (r, c) => { const i = r * stride + (c >> 3), bit = 128 >> (c & 7), a = A[i] & bit, b = B[i] & bit; return a ? (b ? 1 : 2) : b && shown.difference ? 3 : 0; };
function size() {
  const width = root.clientWidth, height = R ? Math.max(220, Math.min(560, TOP + 10 + (width - LEFT - 8) * R / C)) : 220, ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.style.width = width + 'px'; canvas.style.height = height + 'px'; canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  }
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  return [width, height];
}
function fit() { const [w, h] = size(), cell = Math.max(1e-4, Math.min((w - LEFT - 8) / C, (h - TOP - 8) / R)); view = { cell, x: 0, y: 0, min: cell }; mark(); }
function clamp() {
  const [w, h] = size(), across = (w - LEFT) / view.cell, down = (h - TOP) / view.cell;
  view.x = Math.max(0, Math.min(Math.max(0, C - across), view.x)); view.y = Math.max(0, Math.min(Math.max(0, R - down), view.y));
}
// How many weights of each kind (both, here only, there only) every block holds; a level is made from the one below.
function level(step) {
  if (counts[step]) return counts[step];
  const w = Math.ceil(C / step), h = Math.ceil(R / step), kinds = [0, 1, 2].map(() => new Uint32Array(w * h));
  if (step === BASE) {
    for (let r = 0, i = 0; r < R; r++) for (let k = 0, j = (r >> 3) * w; k < stride; k++, i++, j++) {
      const a = A[i], b = B[i]; kinds[0][j] += POP[a & b]; kinds[1][j] += POP[a & ~b & 255]; kinds[2][j] += POP[b & ~a & 255];
    }
  } else {
    const below = level(step / 2), bw = Math.ceil(2 * C / step), bh = Math.ceil(2 * R / step);
    for (let k = 0; k < 3; k++) for (let r = 0, i = 0; r < bh; r++) for (let c = 0; c < bw; c++, i++) kinds[k][(r >> 1) * w + (c >> 1)] += below[k][i];
  }
  return (counts[step] = kinds);
}
function window8(step, x0, y0, w, h) {                         // the same counts for a few small blocks, straight from the bits
  const kinds = [0, 1, 2].map(() => new Uint32Array(w * h)), ones = (255 << (8 - step)) & 255;
  for (let j = 0, r0 = y0 * step; j < h; j++, r0 += step) for (let i = 0, c = x0 * step; i < w; i++, c += step) {
    const bits = ones >> (c & 7), t = j * w + i;
    for (let r = r0, end = Math.min(R, r0 + step), p = r0 * stride + (c >> 3); r < end; r++, p += stride) {
      const a = A[p] & bits, b = B[p] & bits; kinds[0][t] += POP[a & b]; kinds[1][t] += POP[a & ~b & 255]; kinds[2][t] += POP[b & ~a & 255];
    }
  }
  return kinds;
}
function paint(kinds, step, x0, y0, w, h) {
  const picture = new ImageData(w, h), px = picture.data, [both, here, there] = palette.kinds, expected = shown.keep / shown.group, rare = step > 1 ? 3 : 1;
  for (let j = 0, t = 0; j < h; j++) for (let i = 0; i < w; i++, t++) {
    const n1 = kinds[0][t], n2 = kinds[1][t], n3 = shown.difference ? kinds[2][t] : 0, all = n1 + n2 + n3;
    if (!all) continue;
    const total = Math.min(step, C - (x0 + i) * step) * Math.min(step, R - (y0 + j) * step), sum = n1 + rare * (n2 + n3);  // what is rare stays visible
    for (let k = 0; k < 3; k++) px[4 * t + k] = (n1 * both[k] + rare * n2 * here[k] + rare * n3 * there[k]) / sum;
    px[4 * t + 3] = step === 1 ? 255 : 255 * Math.min(1, 0.62 * all / total / expected);
  }
  const off = document.createElement('canvas'); off.width = w; off.height = h; off.getContext('2d').putImageData(picture, 0, 0);
  return off;
}
const css = name => getComputedStyle(root).getPropertyValue(name).trim();
const hex = text => [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16));
function colours() {
  if (!palette.ink) for (const [k, name] of Object.entries({ ink: '--body-text-color', faint: '--border-color-primary', empty: '--mask-empty', line: '--mask-line', degree: '--mask-degree', orphan: '--mask-orphan', font: '--font', score: '--mask-score', link: '--mask-link' })) palette[k] = css(name);
  palette.kinds = (shown.colors || [palette.score, palette.link, palette.score]).map(hex);
}
function draw() {
  const [w, h] = size();
  ctx.clearRect(0, 0, w, h);
  if (!R || !root.clientWidth) return;
  colours();
  const { cell, x, y } = view, across = Math.min(C - x, (w - LEFT) / cell), down = Math.min(R - y, (h - TOP) / cell);
  const step = cell >= 1 ? 1 : 2 ** Math.ceil(-Math.log2(cell));
  let image, x0 = 0, y0 = 0;
  if (step >= BASE) image = images[step] = images[step] || paint(level(step), step, 0, 0, Math.ceil(C / step), Math.ceil(R / step));
  else {
    x0 = Math.floor(x / step); y0 = Math.floor(y / step);
    const iw = Math.ceil((x + across) / step) - x0, ih = Math.ceil((y + down) / step) - y0;
    image = paint(window8(step, x0, y0, iw, ih), step, x0, y0, iw, ih);
  }
  ctx.imageSmoothingEnabled = false;
  ctx.fillStyle = palette.empty; ctx.fillRect(LEFT, TOP, across * cell, down * cell);
  ctx.drawImage(image, x / step - x0, y / step - y0, across / step, down / step, LEFT, TOP, across * cell, down * cell);
  grid(x, y, across, down, cell); strips(x, y, across, down, cell); captions(x, y, across, down, cell, h);
}
function grid(x, y, across, down, cell) {
  const group = shown.group, ruled = (colour, step, first, upTo, line) => { ctx.strokeStyle = colour; ctx.lineWidth = 1; ctx.beginPath(); for (let i = Math.ceil(first / step) * step; i <= upTo; i += step) line(i); ctx.stroke(); };
  if (cell * group >= 14) ruled(palette.line, group, x, x + across, c => { const px = Math.round(LEFT + (c - x) * cell) + 0.5; ctx.moveTo(px, TOP); ctx.lineTo(px, TOP + down * cell); });
  if (cell >= 9) ruled(palette.empty, 1, y, y + down, r => { const py = Math.round(TOP + (r - y) * cell) + 0.5; ctx.moveTo(LEFT, py); ctx.lineTo(LEFT + across * cell, py); });
}
const most = values => { let m = 1; for (let i = 0; i < values.length; i++) if (values[i] > m) m = values[i]; return m; };
function strips(x, y, across, down, cell) {                    // degrees along both edges; orphans stand out
  const top = most(degrees), topRow = most(rowDegrees), bar = Math.max(1, cell * 0.9), stepC = Math.max(1, Math.floor(1 / cell));
  for (let c = Math.floor(x); c < Math.min(C, x + across); c += stepC) {
    let low = degrees[c]; for (let k = 1; k < stepC && c + k < C; k++) if (degrees[c + k] < low) low = degrees[c + k];   // of those that share a pixel, the worst
    const tall = low / top * (TOP - 20), px = LEFT + (c - x) * cell;
    ctx.fillStyle = low ? palette.degree : palette.orphan;
    if (low) ctx.fillRect(px, TOP - 3 - tall, bar, tall); else ctx.fillRect(px, TOP - 12, Math.max(2, bar), 9);
  }
  ctx.fillStyle = palette.degree;
  for (let r = Math.floor(y); r < Math.min(R, y + down); r += stepC) ctx.fillRect(LEFT - 3 - rowDegrees[r] / topRow * 18, TOP + (r - y) * cell, rowDegrees[r] / topRow * 18, bar);
}
function captions(x, y, across, down, cell, h) {
  ctx.fillStyle = palette.ink; ctx.font = '12px ' + (palette.font || 'sans-serif'); ctx.textAlign = 'left';
  const width = canvas.clientWidth;
  ctx.fillText(`inputs ${Math.floor(x)}–${Math.ceil(x + across) - 1} of ${C}` + (width > 420 ? ', bars: weights kept per input' : ''), LEFT, 12);
  ctx.save(); ctx.translate(12, TOP + 4); ctx.rotate(-Math.PI / 2); ctx.textAlign = 'right';
  ctx.fillText(`outputs ${Math.floor(y)}–${Math.ceil(y + down) - 1} of ${R}`, 0, 0); ctx.restore();
  ctx.strokeStyle = palette.faint; ctx.strokeRect(LEFT + 0.5, TOP + 0.5, across * cell, down * cell);
  if (hover && hover.r < R && hover.c < C) { ctx.strokeStyle = palette.ink; ctx.lineWidth = 1.5; ctx.strokeRect(LEFT + (hover.c - x) * cell, TOP + (hover.r - y) * cell, Math.max(3, cell), Math.max(3, cell)); }
}
// What is in view is told at once, as that is what the graph tab will be told; painting waits for the next frame.
function mark() { root.dataset.cell = view.cell.toFixed(3); root.dataset.x = Math.floor(view.x); root.dataset.y = Math.floor(view.y); root.viewed = { ...view, rows: R, cols: C }; }
const redraw = () => { if (R) mark(); cancelAnimationFrame(frame); frame = requestAnimationFrame(draw); };
function moved() { clamp(); redraw(); document.dispatchEvent(new CustomEvent('eggs-view', { detail: { from: root, lock: shown.lock, view: root.viewed } })); tell(); }
function follow(other) {                                       // locked zoom: the same weights in view, at the same scale
  if (!other || !R || other.rows !== R || other.cols !== C) return;
  view.cell = Math.max(view.min, other.cell); view.x = other.x; view.y = other.y; clamp(); redraw();
}
const peer = () => [...document.querySelectorAll('.mask-view')].find(other => other !== root && other.offsetParent && other.dataset.layer === shown.name)?.viewed;
document.addEventListener('eggs-view', e => { if (shown && e.detail.from !== root && e.detail.lock === shown.lock) follow(e.detail.view); });
root.addEventListener('eggs-detail', e => { detail = e.detail; if (detail) root.dataset.detail = `${detail.row} ${detail.column}`; });
function zoom(factor, px, py) {
  const before = [(px - LEFT) / view.cell + view.x, (py - TOP) / view.cell + view.y];
  view.cell = Math.max(view.min, Math.min(WIDEST, view.cell * factor));
  view.x = before[0] - (px - LEFT) / view.cell; view.y = before[1] - (py - TOP) / view.cell; moved();
}
let told = 0;
function tell() {                                              // the window in view, for the graph tab and for weights to hover
  clearTimeout(told);
  told = setTimeout(() => trigger('window', { turn: performance.now(), row: Math.floor(view.y), column: Math.floor(view.x), cell: view.cell, rows: Math.ceil((canvas.clientHeight - TOP) / view.cell) + 1, columns: Math.ceil((canvas.clientWidth - LEFT) / view.cell) + 1 }), 250);
}
const ORDER = ['st', 'nd', 'rd'], WHY = ['pruned', 'kept, as top-N would', 'kept, though top-N by the same score prunes it'];
function describe(r, c) {
  const kind = at(r, c), [one, two] = shown.names || [], why = !shown.other ? ['pruned', 'kept'][kind] : shown.difference ? ['pruned by both', 'kept by both', `kept by ${one} only`, `kept by ${two} only`][kind] : WHY[kind];
  let text = `output ${r}, input ${c} (group ${Math.floor(c / shown.group)}): ${why}`;
  if (detail && detail.layer === shown.name && r >= detail.row && r < detail.row + detail.rows && c >= detail.column && c < detail.column + detail.columns) {
    const i = k => (r - detail.row) * detail.columns + k - detail.column, first = c - c % shown.group, score = detail.scores[i(c)];
    let rank = 1; for (let k = first; k < first + shown.group; k++) if (k >= detail.column && k < detail.column + detail.columns && detail.scores[i(k)] > score) rank++;
    text += `; dense weight ${detail.weights[i(c)].toPrecision(3)}, score ${score.toPrecision(3)}, ${rank}${ORDER[rank - 1] || 'th'} of its group`;
  }
  return text + `; input ${c} keeps ${degrees[c]} of ${R} weights`;
}
canvas.addEventListener('wheel', e => { if (!R) return; e.preventDefault(); zoom(e.deltaY < 0 ? 1.25 : 0.8, e.offsetX, e.offsetY); }, { passive: false });
let drag = null;
canvas.addEventListener('pointerdown', e => { if (!R) return; canvas.setPointerCapture(e.pointerId); drag = [e.clientX, e.clientY, view.x, view.y]; canvas.focus(); });
canvas.addEventListener('pointerup', () => { drag = null; });
canvas.addEventListener('pointerleave', () => { hover = null; info.textContent = info.dataset.hint; redraw(); });
canvas.addEventListener('pointermove', e => {
  if (!R) return;
  if (drag) { view.x = drag[2] - (e.clientX - drag[0]) / view.cell; view.y = drag[3] - (e.clientY - drag[1]) / view.cell; moved(); return; }
  const c = Math.floor((e.offsetX - LEFT) / view.cell + view.x), r = Math.floor((e.offsetY - TOP) / view.cell + view.y);
  hover = r >= 0 && c >= 0 && r < R && c < C && e.offsetX > LEFT && e.offsetY > TOP ? { r, c } : null;
  info.textContent = hover ? describe(r, c) : info.dataset.hint;
  redraw();
});
canvas.addEventListener('keydown', e => {
  if (!R) return;
  const step = 40 / view.cell, move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[e.key];
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (move) { view.x += move[0]; view.y += move[1]; moved(); } else if (e.key === '+' || e.key === '=') zoom(1.5, w / 2, h / 2);
  else if (e.key === '-') zoom(1 / 1.5, w / 2, h / 2); else if (e.key === '0') { fit(); moved(); } else return;
  e.preventDefault();
});
root.querySelectorAll('[data-act]').forEach(b => { b.onclick = () => {
  if (!R) return;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (b.dataset.act === 'fit') { fit(); moved(); } else if (b.dataset.act === 'cells') { view.cell = 14; moved(); } else zoom(b.dataset.act === 'in' ? 1.6 : 1 / 1.6, w / 2, h / 2);
}; });
downloads(root, canvas, {
  name: () => `mask-${shown.name}-${shown.label}`,
  csv: () => {                                                 // the weights in view
    const rows = [['output', 'input', 'kind']], r1 = Math.min(R, view.y + (canvas.clientHeight - TOP) / view.cell), c1 = Math.min(C, view.x + (canvas.clientWidth - LEFT) / view.cell);
    const names = !shown.other ? ['pruned', 'kept'] : shown.difference ? ['pruned by both', 'kept by both', 'first only', 'second only'] : ['pruned', 'importance', 'connectivity'];
    for (let r = Math.floor(view.y); r < r1; r++) for (let c = Math.floor(view.x); c < c1; c++) rows.push([r, c, names[at(r, c)]]);
    return rows;
  },
});
new ResizeObserver(() => { if (root.clientWidth && R) { if (!view || view.cell <= view.min) fit(); else clamp(); draw(); } }).observe(root);
new MutationObserver(() => { images = {}; palette = {}; redraw(); }).observe(document.body, { attributes: true, attributeFilter: ['class'] });
watch('value', load);
load();
