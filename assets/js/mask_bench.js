// An 8×8 matrix whose weights are kept or pruned by a click, Space or Enter; arrow keys move.
const root = element.querySelector('.bench');
let shown = null, kept = [];
const bits = () => kept.map(row => row.map(Number).join('')).join('');

function paint() {
  const n = kept.length;
  root.querySelectorAll('button').forEach(cell => {
    const on = kept[cell.dataset.row][cell.dataset.col];
    cell.classList.toggle('kept', on);
    cell.setAttribute('aria-pressed', on);
  });
  root.querySelectorAll('.bench-degree').forEach(foot => {
    const degree = kept.reduce((sum, row) => sum + row[foot.dataset.col], 0);
    foot.textContent = degree;
    foot.classList.toggle('orphan', degree === 0);
  });
  root.querySelectorAll('tbody td').forEach(cell => {
    const { row, place } = cell.dataset, first = place - place % shown.group;
    const kept_here = shown.order.slice(first, first + shown.group).reduce((sum, c) => sum + kept[row][c], 0);
    cell.classList.toggle('broken', shown.keep !== null && kept_here !== shown.keep);
  });
  root.dataset.mask = bits(); root.dataset.kept = kept.flat().filter(Boolean).length; root.dataset.size = n;
}

function build(v) {
  const n = v.weights.length, most = Math.max(...v.weights.flat().map(Math.abs));
  const cut = place => (place && place % v.group === 0 ? ' cut' : '');
  const head = v.order.map((c, i) => `<th scope="col" class="${cut(i)}">${c + 1}</th>`).join('');
  const rows = v.weights.map((row, r) => `<tr><th scope="row">${r + 1}</th>` + v.order.map((c, i) =>
    `<td class="${cut(i)}" data-row="${r}" data-place="${i}"><button type="button" class="${v.marks && v.marks[r][c] ? 'marked' : ''}" data-row="${r}" data-col="${c}" tabindex="${r || i ? -1 : 0}" style="--strength:${(Math.abs(row[c]) / most).toFixed(3)}"
      aria-label="output ${r + 1}, input ${c + 1}, weight ${row[c].toFixed(1)}">${row[c].toFixed(1).replace('-', '−')}</button></td>`).join('') + '</tr>').join('');
  const foot = v.order.map((c, i) => `<td class="${cut(i)} bench-degree" data-col="${c}"></td>`).join('');
  root.innerHTML = `<table><thead><tr><th>out \\ in</th>${head}</tr></thead><tbody>${rows}</tbody><tfoot><tr><th>kept</th>${foot}</tr></tfoot></table>`;
}

function load() {
  const v = props.value ? JSON.parse(props.value) : null;
  if (!v) return;
  const focus = document.activeElement && root.contains(document.activeElement) ? { ...document.activeElement.dataset } : null;
  shown = v;
  kept = v.mask.map(row => row.map(Boolean));
  build(v); paint();
  if (focus) root.querySelector(`[data-row="${focus.row}"][data-col="${focus.col}"]`)?.focus();
  root.dataset.drawn = Number(root.dataset.drawn || 0) + 1;
}

// Weights, lines of the graph, channels and rows of tables that belong together light up together, wherever one points.
const LIT = '.bench button, .edge, .node, .lesson-table tr[data-row]';
function light(at) {
  const keys = at ? ['row', 'col'].filter(key => key in at) : [];
  document.querySelectorAll('#lesson :is(' + LIT + ')').forEach(one => {
    const shared = keys.filter(key => key in one.dataset);
    one.classList.toggle('lit', shared.length > 0 && shared.every(key => one.dataset[key] === at[key]));
  });
}
const lesson = document.querySelector('#lesson');
if (lesson && !lesson.dataset.lights) {
  lesson.dataset.lights = 'on';
  for (const name of ['pointerover', 'focusin']) {
    lesson.addEventListener(name, event => light(event.target.closest(LIT)?.dataset));
  }
  lesson.addEventListener('pointerleave', () => light(null));
  // Where the page to keep is in view, that alone is printed.
  addEventListener('beforeprint', () => document.body.classList.toggle('prints-lesson', Boolean(document.querySelector('.lesson-keep')?.checkVisibility())));
}

root.addEventListener('click', event => {
  const cell = event.target.closest('button');
  if (!cell) return;
  const { row, col } = cell.dataset;
  kept[row][col] = !kept[row][col];
  paint();
  trigger('edit', { mask: bits() });
});
root.addEventListener('keydown', event => {
  const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -kept.length, ArrowDown: kept.length }[event.key];
  if (!move || !event.target.closest('button')) return;
  event.preventDefault();
  const cells = [...root.querySelectorAll('button')], to = cells[cells.indexOf(event.target) + move];
  if (!to) return;
  event.target.tabIndex = -1; to.tabIndex = 0; to.focus();
});
watch('value', load);
load();
