// The whole model as a grid, blocks across and projections down; a click, or arrow keys and Enter, opens a layer.
// A block's experts share a cell in the colour of their mean; it opens into a grid of a cell for each expert.
const box = element.querySelector('.model-map'), { make, numbers, shade, walk } = cellGrid, experts = cellGrid.experts(box);
let v = null, chosen = '';                                     // what is drawn, and the layer

function say(x) {                                             // as Python's format does
  const [, plus, digits, kind] = /\{:(\+?)\.(\d)([f%])\}/.exec(v.form);
  return (plus && x >= 0 ? '+' : '') + (kind === '%' ? `${(100 * x).toFixed(digits)}%` : x.toFixed(digits));
}
function cellNode(value, name, told) {
  const node = make('button', 'mm-cell');
  node.tabIndex = -1;
  cellGrid.colour(node, shade((value - v.low) / (v.high - v.low || 1)));
  node.title = `${name}\n${v.measure}: ${told}`;
  node.setAttribute('aria-label', node.title);
  return node;
}
const holds = (cell, layer) => layer === cell.name || (cell.tail !== undefined && layer.startsWith(cell.head)
  && layer.endsWith(cell.tail) && /^\d+$/.test(layer.slice(cell.head.length, layer.length - cell.tail.length)));
function mark() {                                             // the chosen layer, and the cell of its experts
  for (const node of box.querySelectorAll('button.mm-cell')) {
    const on = node.dataset.layer === chosen || (node.cell && holds(node.cell, chosen));
    node.classList.toggle('on', Boolean(on));
    if (on) node.setAttribute('aria-current', 'true'); else node.removeAttribute('aria-current');
  }
}
function choose(layer) {
  chosen = layer;
  mark();
  trigger('pick', { layer, turn: performance.now() });
}
function open(node, cell) {
  const title = `Block ${cell.block + 1}, ${node.dataset.row}`, values = numbers(cell.values, Float32Array);
  const own = cell.numbers ? numbers(cell.numbers, Int32Array) : values.map((_, i) => i);
  const said = { title, facts: `${v.measure} ${cell.text}, ${cell.note}`, label: `${title}: ${v.measure} of each expert`, numbers: own };
  experts.open(node, said, (number, i) => {
    const layer = cell.head + number + cell.tail, small = cellNode(values[i], layer, say(values[i]));
    small.dataset.layer = layer;
    small.append(make('span', 'mm-number', number), make('span', '', say(values[i])));
    small.onclick = () => choose(layer);
    return small;
  }, mark);
}
function drawCell(cell, row) {
  const node = cellNode(cell.value, cell.name, cell.note ? `${cell.text}, ${cell.note}` : cell.text);
  if (v.blocks <= 12) node.textContent = cell.text;
  if (!cell.note) {
    node.dataset.layer = cell.name;
    node.onclick = () => choose(cell.name);
    return node;
  }
  cellGrid.many(node, cell, row, experts.panel);
  node.onclick = () => {
    if (experts.group() === cell.name) return experts.close(false);
    open(node, cell);
    experts.panel.scrollIntoView({ block: 'nearest' });
  };
  return node;
}
function drawLegend() {
  const legend = make('div', 'mm-legend');
  legend.append(...cellGrid.legend(say(v.low), say(v.high)), make('span', 'mm-measure', v.measure));
  if (box.querySelector('.many')) legend.append(make('span', 'mm-note', 'A cell with a corner is the mean of a block’s experts; it opens into a cell for each.'));
  return legend;
}
function load() {
  const focused = box.contains(document.activeElement) ? { ...document.activeElement.dataset } : null, before = experts.group();
  v = props.value ? JSON.parse(props.value) : null;
  experts.close(false);
  box.replaceChildren();
  if (!v || !v.rows.length) { box.append(make('p', 'empty', 'Layers appear here as they are pruned.')); return; }
  chosen = v.selected;
  const grid = cellGrid.grid({ ...v, label: `${v.measure} of every layer; columns are blocks` }, drawCell);
  box.append(grid);
  box.append(drawLegend());
  mark();
  walk(grid, () => v.blocks);
  const again = [...grid.querySelectorAll('.many')].find(node => node.dataset.group === before);
  if (again) open(again, again.cell);
  if (focused) [...box.querySelectorAll('button.mm-cell')].find(n => n.dataset.layer === focused.layer && n.dataset.group === focused.group)?.focus();
  box.dataset.drawn = (+box.dataset.drawn || 0) + 1;
}
watch('value', load);
load();
