// A plan: every layer in the pattern that it will get, painted by mouse, touch or keyboard; estimates follow at once.
// Value: {key, model, blocks, rows, patterns, shapes, shape, share, losses}; what each layer is to have comes by
// plan_choices.js, as a number of a pattern for each layer. The first pattern is dense.
const root = element.querySelector('.plan'), { make, numbers } = cellGrid, MOST_UNDONE = 100, WIDE = 12;
const bar = make('div', 'view-bar plan-brushes'), field = make('div', 'plan-field'), side = make('div', 'plan-side');
const body = make('div', 'plan-body'), info = make('div', 'view-info plan-info');
const experts = cellGrid.experts(field);
let v = null, choices = null, base = 0, brush = 0, past = [], sent = [], from = null, tool = 'paint', view = 'pattern';
let shape, share, losses, nodes = [];                          // nodes: those that show layers, the experts opened among them
field.setAttribute('aria-describedby', info.id = `plan-${Math.random().toString(36).slice(2)}`);
body.append(field, side);

const encoded = () => { let text = ''; for (let i = 0; i < choices.length; i += 8192) text += String.fromCharCode(...choices.subarray(i, i + 8192)); return btoa(text); };
const fits = (layer, p) => v.shapes[shape[layer]].bytes[p] !== null;
const given = (layer, p) => (fits(layer, p) ? p : 0);          // a layer whose width M does not divide stays dense
const layersOf = cell => Array.from({ length: cell.count }, (_, i) => cell.first + i);
const nameOf = (cell, i) => (cell.head === undefined ? cell.name : cell.head + (cell.own ? cell.own[i] : i) + cell.tail);

function say(bytes) {                                          // as Python's units.size does
  for (const unit of ['B', 'kB', 'MB', 'GB']) { if (bytes < 1000) return `${bytes.toFixed(unit === 'B' ? 0 : 1)} ${unit}`; bytes /= 1000; }
  return `${bytes.toFixed(1)} TB`;
}
const thousands = x => x.toLocaleString('en-US');
const lossOf = (layer, p) => (p === 0 ? 0 : losses ? losses[layer * v.patterns.length + p] : NaN);
function total(choice) {                                       // what a plan comes to; NaN where it was not measured
  const sum = { weights: 0, bytes: 0, seconds: 0, loss: 0 };
  for (let i = 0; i < shape.length; i++) {
    const own = v.shapes[shape[i]], p = given(i, choice(i));
    sum.weights += own.weights[p]; sum.bytes += own.bytes[p]; sum.loss += lossOf(i, p);
    sum.seconds += own.seconds && own.seconds[p] !== null ? own.seconds[p] * share[i] : NaN;
  }
  return sum;
}
const FIGURES = [
  ['weights', 'Kept weights', x => thousands(x)],
  ['bytes', 'Packed bytes', say],
  ['seconds', 'Predicted decode time', x => `${(x * 1e3).toPrecision(3)} ms`, 'not timed yet'],
  ['loss', 'Predicted loss, nats', x => (x ? `+${x.toPrecision(3)}` : '0'), 'not measured yet'],
];
function estimate() {
  const differ = choices.reduce((sum, p, i) => sum + (given(i, p) !== given(i, base)), 0);
  const plan = total(i => choices[i]), even = total(() => base), dense = total(() => 0), rows = [];
  for (const [key, label, show, missing] of FIGURES) {
    const row = make('tr', '');
    row.dataset.figure = key;
    row.append(make('th', '', label));
    row.firstChild.scope = 'row';
    if (Number.isNaN(plan[key])) {
      row.append(make('td', 'plan-missing', missing));
      row.lastChild.colSpan = 3;
    } else {
      const own = make('td', 'plan-own', show(plan[key])), times = [];
      if (differ && even[key] > 0) times.push(`× ${(plan[key] / even[key]).toFixed(3)} of uniform`);
      if (dense[key] > 0) times.push(`× ${(plan[key] / dense[key]).toFixed(3)} of dense`);
      for (const text of times) own.append(make('span', '', text));
      row.append(own, ...[even, dense].map(x => make('td', '', Number.isNaN(x[key]) ? '–' : show(x[key]))));
      row.dataset.plan = plan[key];
    }
    rows.push(row);
  }
  const table = make('table', 'plan-figures'), head = make('tr', ''), top = make('thead', ''), rest = make('tbody', '');
  head.append(make('td', ''), ...['Plan', `Uniform ${v.patterns[base].text}`, 'Dense'].map(text => make('th', '', text)));
  top.append(head);
  rest.append(...rows);
  table.append(top, rest);
  const line = make('p', 'plan-differ', differ ? `${differ.toLocaleString('en-US')} of ${thousands(shape.length)} layers differ from ${v.patterns[base].text}.` : `All ${thousands(shape.length)} layers follow the sidebar’s ${v.patterns[base].text}.`);
  side.replaceChildren(table, line, make('p', 'hint', 'Of the layers that can be pruned; embeddings, norms and the head are not counted.'));
  Object.assign(root.dataset, { differ, bytes: plan.bytes, weights: plan.weights, loss: plan.loss, seconds: plan.seconds });
}

function hue(p) { return p === 0 ? null : cellGrid.shade((v.patterns[p].density - 0.15) / 0.75); }
function dye(node, p) {                                        // a pattern's colour, striped where groups are not of four
  node.classList.toggle('dense', p === 0);
  node.classList.toggle('striped', p !== 0 && v.patterns[p].group !== 4);
  if (p === 0) node.style.background = node.style.color = '';
  else { cellGrid.colour(node, hue(p)); node.style.backgroundColor = node.style.background; node.style.backgroundImage = ''; }
}
const lossBrush = () => (brush === 0 ? v.patterns.length - 1 : brush);
function lossRange() {                                         // null for a pattern that was not measured
  const found = Array.from(shape, (_, i) => lossOf(i, lossBrush())).filter(x => x > 0);
  return found.length ? [found.reduce((a, b) => Math.min(a, b)), found.reduce((a, b) => Math.max(a, b))] : null;
}
function look(node, range) {
  const { layers, cell, at } = node.shows, own = layers.map(i => given(i, choices[i])), same = own.every(p => p === own[0]);
  const text = same ? v.patterns[own[0]].text : 'mixed', first = layers[0];
  const name = at === undefined ? cell.name : nameOf(cell, at), unfit = layers.find(i => !fits(i, choices[i]));
  const lost = layers.reduce((sum, i) => sum + lossOf(i, given(i, choices[i])), 0), lines = [name, `pattern: ${text}`];
  if (unfit !== undefined) lines.push(`stays dense: ${v.patterns[choices[unfit]].text} does not divide its ${thousands(v.shapes[shape[unfit]].shape[1])} inputs`);
  if (losses) lines.push(`predicted loss: ${lost ? lost.toPrecision(2) : 0} nats`);
  let shown = text;
  node.classList.remove('mixed');
  if (range) {
    const p = lossBrush(), each = layers.map(i => lossOf(i, given(i, p))), mean = each.reduce((a, b) => a + b, 0) / each.length;
    node.classList.remove('dense', 'striped');
    node.style.backgroundImage = '';
    cellGrid.colour(node, cellGrid.shade(mean > 0 ? (Math.log(mean) - Math.log(range[0])) / (Math.log(range[1] / range[0]) || 1) : 0));
    shown = mean ? mean.toPrecision(2) : '0';
    lines.push(`by ${v.patterns[p].text}: ${mean ? mean.toPrecision(2) : 0} nats`);
  } else if (same) dye(node, own[0]);
  else {
    const kept = own.reduce((sum, p) => sum + v.patterns[p].density, 0) / own.length;
    dye(node, 0);
    node.classList.remove('dense');
    node.classList.add('mixed');
    cellGrid.colour(node, cellGrid.shade((kept - 0.15) / 0.75));
  }
  node.title = lines.join('\n');
  node.setAttribute('aria-label', lines.join(', '));
  node.dataset.pattern = text;
  const place = node.querySelector('.plan-text') || node;
  place.textContent = v.blocks <= WIDE || at !== undefined ? shown : '';
}
function refresh() {
  const range = view === 'loss' && losses ? lossRange() : null;
  nodes = nodes.filter(node => node.isConnected || !node.shows.small);
  for (const node of nodes) look(node, range);
  estimate();
  legend(range);
  for (const [act, usable] of [['undo', past.length], ['reset', choices.some(p => p !== base)]]) bar.querySelector(`[data-act=${act}]`).disabled = !usable;
}

function tell() {
  const text = encoded();
  sent.push(text);
  trigger('paint', { model: v.model, key: v.key, patterns: v.patterns.map(p => p.text), choices: text, turn: performance.now() });
}
function change(next) {
  past.push(choices);
  if (past.length > MOST_UNDONE) past.shift();
  choices = next;
}
function paint(layers) {
  if (!layers.some(i => choices[i] !== brush)) return;
  const next = choices.slice();
  for (const i of layers) next[i] = brush;
  change(next);
  refresh();
  tell();
}
function undo() { if (past.length) { choices = past.pop(); refresh(); tell(); } }
function reset() { if (choices.some(p => p !== base)) { change(choices.slice().fill(base)); refresh(); tell(); } }

// Rows and columns from where a drag, or a step with Shift, began to where it is; a label stands for all of its own.
function rectangle(a, b) {
  const ends = (x, y, most) => (x < 0 || y < 0 ? [0, most - 1] : [Math.min(x, y), Math.max(x, y)]);
  const [top, bottom] = ends(a.r, b.r, v.rows.length), [left, right] = ends(a.c, b.c, v.blocks);
  return nodes.filter(n => !n.shows.small && n.shows.r >= top && n.shows.r <= bottom && n.shows.cell.block >= left && n.shows.cell.block <= right);
}
const placeOf = node => (node && node.dataset.r !== undefined ? { r: +node.dataset.r, c: +node.dataset.c } : null);
function under(e) { const found = document.elementFromPoint(e.clientX, e.clientY)?.closest('[data-r]'); return found && field.contains(found) ? found : null; }
function outline(list) { for (const node of nodes) node.classList.toggle('in', list.includes(node)); }
const layersIn = list => list.flatMap(node => node.shows.layers);
function open(node) {
  const { cell } = node.shows, title = `Block ${cell.block + 1}, ${node.dataset.row}`;
  if (experts.group() === cell.name) { experts.close(true); refresh(); return; }
  const own = Array.from({ length: cell.count }, (_, i) => (cell.own ? cell.own[i] : i));
  experts.open(node, { title, facts: `${cell.count} experts; a click paints one.`, label: `${title}: pattern of each expert`, numbers: own }, (number, i) => {
    const small = make('button', 'mm-cell');
    small.tabIndex = -1;
    small.append(make('span', 'mm-number', number), make('span', 'plan-text'));
    small.shows = { layers: [cell.first + i], cell, at: i, small: true };
    small.dataset.layer = nameOf(cell, i);
    small.onclick = () => paint(small.shows.layers);
    nodes.push(small);
    return small;
  });
  refresh();
  experts.panel.scrollIntoView({ block: 'nearest' });
}

function draw() {
  experts.close(false);
  nodes = [];
  const grid = cellGrid.grid({ ...v, label: 'Pattern of every layer; columns are blocks' }, (cell, row, r) => {
    const node = make('button', 'mm-cell');
    node.tabIndex = -1;
    if (cell.numbers) cell.own = numbers(cell.numbers, Int32Array);
    node.shows = { layers: layersOf(cell), cell, r };
    if (cell.head !== undefined) cellGrid.many(node, cell, row, experts.panel); else node.dataset.layer = cell.name;
    Object.assign(node.dataset, { r, c: cell.block });
    nodes.push(node);
    return node;
  }, (kind, text, index) => {
    const row = kind === 'mm-label', shown = row ? text.replaceAll('.', '.\u200b') : text;  // it may break behind a dot
    const node = make('button', kind, index < 0 ? 'all' : shown);
    node.tabIndex = -1;
    node.title = index < 0 ? 'Paint all layers' : row ? `Paint ${text} in all blocks` : `Paint all of block ${index + 1}`;
    node.setAttribute('aria-label', node.title);
    Object.assign(node.dataset, row ? { r: index, c: -1 } : { r: -1, c: index });
    return node;
  });
  grid.classList.toggle('tight', v.blocks > 32);
  grid.onpointerdown = e => {
    const at = placeOf(e.target.closest('[data-r]'));
    if (!at || e.button || tool === 'open') return;
    from = at;
    outline(rectangle(from, at));
  };
  grid.onclick = e => {                                        // by key or by a program, or to open; a pointer has painted
    const node = e.target.closest('[data-r]'), at = placeOf(node);
    if (!at) return;
    if (tool === 'open' && node.classList.contains('many')) open(node);
    else if (e.detail === 0) { paint(layersIn(rectangle(from || at, at))); from = null; outline([]); }
  };
  cellGrid.walk(grid, () => v.blocks + 1, (e, node) => {
    const at = placeOf(node);
    if (e.shiftKey) { from = from || placeOf(e.target.closest('[data-r]')); outline(rectangle(from, at)); } else { from = null; outline([]); }
  });
  field.replaceChildren(grid, make('div', 'mm-legend'), info);
  root.replaceChildren(bar, body);
}
function pointer(e) {
  if (!from || !v || tool === 'open') return;
  const at = placeOf(under(e));
  if (e.type === 'pointermove') { if (at && e.buttons) outline(rectangle(from, at)); return; }
  const list = e.type === 'pointerup' && at ? layersIn(rectangle(from, at)) : [];
  from = null;
  outline([]);
  if (list.length) paint(list);
}
for (const type of ['pointermove', 'pointerup', 'pointercancel']) document.addEventListener(type, pointer);

function legend(range) {
  const line = field.querySelector('.mm-legend'), grid = field.querySelector('.mm-grid'), p = v.patterns[lossBrush()].text;
  if (range) line.replaceChildren(...cellGrid.legend(range[0].toPrecision(2), range[1].toPrecision(2)), make('span', 'mm-measure', `nats that the model is predicted to lose if this layer alone gets ${p}`));
  else line.replaceChildren(make('span', '', 'Drag over a rectangle, or click a projection or a block, to paint all of it.'));
  if (grid.scrollWidth > grid.clientWidth + 1) line.append(make('span', 'mm-note', 'The numbers of the blocks scroll the others into view.'));
  if (field.querySelector('.many')) line.append(make('span', 'mm-note', 'A cell with a corner holds a block’s experts; “Open experts”, or the key O, shows each.'));
  info.textContent = 'Keys: arrows move, Shift and arrows choose a rectangle, Enter or Space paints, 1 to 9 choose a brush, Ctrl+Z undoes.';
}
function press(selector, on) { for (const button of bar.querySelectorAll(selector)) button.setAttribute('aria-pressed', on(button)); }
function setBrush(p) {
  if (p < 0 || p >= v.patterns.length) return;
  brush = p;
  tool = 'paint';
  press('[data-brush]', button => +button.dataset.brush === p);
  press('[data-act=open]', () => false);
  root.dataset.brush = v.patterns[p].text;
  refresh();
}
function button(text, title, act, click) {
  const made = make('button', '', text);
  made.title = title;
  made.dataset.act = act;
  made.onclick = click;
  return made;
}
function brushes() {
  const group = make('div', 'plan-group'), rest = make('div', 'plan-group');
  group.setAttribute('role', 'group');
  group.setAttribute('aria-label', 'Brush');
  v.patterns.forEach((p, i) => {
    const one = button('', `Paint ${p.text}${i < 9 ? `, key ${i + 1}` : ''}`, 'brush', () => setBrush(i)), swatch = make('i', 'swatch');
    dye(swatch, i);
    one.dataset.brush = i;
    one.append(swatch, p.text);
    group.append(one);
  });
  rest.append(button('Undo', 'Undo, Ctrl+Z', 'undo', undo), button('Reset', 'All layers as in the sidebar', 'reset', reset));
  if (losses) {
    rest.append(button('Show what layers lose', 'Colour the layers by what the model is predicted to lose with the brush', 'loss', () => {
      view = view === 'loss' ? 'pattern' : 'loss';
      press('[data-act=loss]', () => view === 'loss');
      refresh();
    }));
  } else view = 'pattern';
  if (v.rows.some(row => row.cells.some(cell => cell.head !== undefined))) {
    rest.append(button('Open experts', 'A click opens a block’s experts, key O', 'open', () => {
      tool = tool === 'open' ? 'paint' : 'open';
      press('[data-act=open]', () => tool === 'open');
    }));
  }
  bar.replaceChildren(group, rest);
  press('[data-act=loss]', () => view === 'loss');
  press('[data-act=open]', () => tool === 'open');
}
root.addEventListener('keydown', e => {
  if (!v || !choices) return;
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === 'z') { e.preventDefault(); undo(); return; }
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (/^[1-9]$/.test(e.key)) setBrush(+e.key - 1);
  const node = e.target.closest('.many');
  if (e.key.toLowerCase() === 'o' && node) open(node);
});

function receive() {                                           // what each layer is to have, as Python says it
  const told = eggs.plan;
  if (!v || !told || told.key !== v.key) return;
  const next = Uint8Array.from(atob(told.choices), c => c.charCodeAt(0)), echo = sent.indexOf(told.choices), first = choices === null;
  if (echo >= 0) sent = sent.slice(echo + 1);                  // an answer to what was painted here, perhaps before more was
  else if (first) choices = next;
  else if (next.some((p, i) => p !== choices[i])) { change(next); sent = []; }
  base = told.base;
  if (first) setBrush(Math.min(v.patterns.length - 1, base + 1));
  refresh();
  root.dataset.drawn = (+root.dataset.drawn || 0) + 1;
}
function load() {
  const before = v && v.patterns.map(p => p.text).join(), model = v && v.model, wanted = v && v.patterns[brush].text;
  v = props.value ? JSON.parse(props.value) : null;
  if (!v) { choices = null; root.replaceChildren(make('p', 'empty', 'The layers of the model in the sidebar appear here.')); return; }
  [shape, share, losses] = [numbers(v.shape, Int32Array), numbers(v.share, Float32Array), v.losses && numbers(v.losses, Float32Array)];
  if (model !== v.model || before !== v.patterns.map(p => p.text).join()) { choices = null; past = []; sent = []; }
  else brush = Math.max(0, v.patterns.findIndex(p => p.text === wanted));
  brushes();
  draw();
  if (choices) setBrush(brush);
  receive();
}
document.addEventListener('eggs-plan', receive);
watch('value', load);
load();
