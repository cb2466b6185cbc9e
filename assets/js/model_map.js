// The whole model as a grid, blocks across and projections down; a click, or arrow keys and Enter, opens a layer.
const box = element.querySelector('.model-map');
const PALETTE = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis
function shade(t) {
  const x = Math.max(0, Math.min(1, t)) * (PALETTE.length - 1), i = Math.min(PALETTE.length - 2, Math.floor(x)), f = x - i;
  return PALETTE[i].map((c, k) => Math.round(c + f * (PALETTE[i + 1][k] - c)));
}
function make(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
function load() {
  const v = props.value ? JSON.parse(props.value) : null;
  box.replaceChildren();
  if (!v || !v.rows.length) { box.append(make('p', 'empty', 'Layers appear here as they are pruned.')); return; }
  const grid = make('div', 'mm-grid');
  grid.style.gridTemplateColumns = `max-content repeat(${v.blocks}, minmax(14px, 1fr))`;
  grid.setAttribute('role', 'grid');
  grid.setAttribute('aria-label', `${v.measure} of every layer; columns are blocks`);
  const cells = v.rows.flatMap(r => r.cells.filter(c => c));
  const numbers = cells.map(c => c.value).filter(x => x !== null);
  const low = Math.min(...numbers), high = Math.max(...numbers), span = high - low || 1;
  for (const row of v.rows) {
    grid.append(make('div', 'mm-label', row.projection));
    row.cells.forEach((cell, block) => {
      const node = make(cell ? 'button' : 'div', 'mm-cell');
      if (cell) {
        const [r, g, b] = shade(cell.value === null ? 0 : (cell.value - low) / span);
        node.style.background = `rgb(${r},${g},${b})`;
        node.style.color = 0.3 * r + 0.59 * g + 0.11 * b > 140 ? '#111' : '#fff';
        node.title = `${cell.name}\n${v.measure}: ${cell.text}`;
        node.setAttribute('aria-label', node.title);
        node.dataset.layer = cell.name;
        if (v.blocks <= 12) node.textContent = cell.text;
        if (cell.name === v.selected) node.classList.add('on');
        node.onclick = () => {
          box.querySelectorAll('.on').forEach(n => n.classList.remove('on'));
          node.classList.add('on');
          trigger('pick', { layer: cell.name, turn: performance.now() });
        };
        node.onkeydown = e => {
          const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: v.blocks, ArrowUp: -v.blocks }[e.key];
          if (!step) return;
          const all = [...grid.querySelectorAll('.mm-cell')], next = all[all.indexOf(node) + step];
          if (next && next.focus) { next.focus(); e.preventDefault(); }
        };
      }
      grid.append(node);
    });
  }
  grid.append(make('div', 'mm-label', 'block'));
  for (let b = 0; b < v.blocks; b++) grid.append(make('div', 'mm-block', v.blocks <= 32 || b % 5 === 0 ? b + 1 : ''));
  const legend = make('div', 'mm-legend');
  const bar = make('span', 'mm-bar');
  bar.style.background = `linear-gradient(90deg, ${PALETTE.map(c => `rgb(${c})`).join(',')})`;
  legend.append(make('span', '', v.low), bar, make('span', '', v.high), make('span', 'mm-measure', v.measure));
  box.append(grid, legend);
  box.dataset.drawn = (+box.dataset.drawn || 0) + 1;
}
watch('value', load);
load();
