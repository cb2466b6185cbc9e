// What the model map and the plan's canvas share: a grid of blocks × projections, and the panel of a block's experts.
const cellGrid = {
  PALETTE: [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], // viridis
  make(tag, className, text) {
    const node = document.createElement(tag);
    node.className = className;
    if (tag === 'button') node.type = 'button';
    if (text !== undefined) node.textContent = text;
    return node;
  },
  shade(t) {
    const { PALETTE } = cellGrid, x = Math.max(0, Math.min(1, t)) * (PALETTE.length - 1), i = Math.min(PALETTE.length - 2, Math.floor(x)), f = x - i;
    return PALETTE[i].map((c, k) => Math.round(c + f * (PALETTE[i + 1][k] - c)));
  },
  colour(node, [r, g, b]) {
    const linear = c => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    const luminance = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    node.style.background = `rgb(${r},${g},${b})`;
    node.style.color = luminance > 0.179 ? '#000' : '#fff'; // whichever stands out more, as WCAG counts
  },
  legend(low, high) {                                           // a bar of the palette between two texts
    const { make, PALETTE } = cellGrid, bar = make('span', 'mm-bar');
    bar.style.background = `linear-gradient(90deg, ${PALETTE.map(c => `rgb(${c})`).join(',')})`;
    return [make('span', '', low), bar, make('span', '', high)];
  },
  numbers(text, Kind) {
    return new Kind(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  },
  // One stop for Tab, arrow keys between cells; `columns` of all cells that keys can reach, `moved` hears of each step.
  walk(holder, columns, moved = () => {}) {
    const cells = () => [...holder.querySelectorAll('.mm-cell, button.mm-label, button.mm-block')];
    holder.addEventListener('keydown', e => {
      const all = cells(), width = columns(all), step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: width, ArrowUp: -width }[e.key];
      let at = all.indexOf(e.target.closest('button'));
      if (!step || at < 0) return;
      e.preventDefault();
      do at += step; while (all[at] && all[at].tagName !== 'BUTTON');
      if (all[at]) { all[at].focus(); moved(e, all[at]); }
    });
    holder.addEventListener('focusin', e => {
      for (const node of cells()) if (node.tabIndex === 0) node.tabIndex = -1;
      if (cells().includes(e.target)) e.target.tabIndex = 0;
    });
    const first = holder.querySelector('button.mm-cell.on') || holder.querySelector('button.mm-cell');
    if (first) first.tabIndex = 0;
  },
  // Rows of cells under their blocks; `draw` makes a cell, `head` the label of a row or block, by default plain text.
  grid({ rows, blocks, label }, draw, head = (kind, text) => cellGrid.make('div', kind, text)) {
    const { make } = cellGrid, grid = make('div', 'mm-grid');
    grid.style.gridTemplateColumns = `max-content repeat(${blocks}, minmax(var(--mm-least, 14px), 1fr))`;
    grid.setAttribute('role', 'group');
    grid.setAttribute('aria-label', label);
    rows.forEach((row, r) => {
      grid.append(head('mm-label', row.projection, r));
      const nodes = Array.from({ length: blocks }, () => null);
      for (const cell of row.cells) nodes[cell.block] = draw(cell, row.projection, r);
      grid.append(...nodes.map(node => node || make('div', 'mm-cell')));
    });
    grid.append(head('mm-label', 'block', -1));
    for (let b = 0; b < blocks; b++) grid.append(head('mm-block', blocks <= 32 || b % 5 === 0 ? b + 1 : '', b));
    return grid;
  },
  // The panel under a grid that shows one cell's experts; `numbers` are theirs, `draw` makes the cell of the i-th, and
  // `ready` is called once all are there.
  experts(box) {
    const { make, walk } = cellGrid, panel = make('div', 'mm-experts');
    let opened = null;
    panel.id = `experts-${Math.random().toString(36).slice(2)}`;
    panel.setAttribute('role', 'group');
    function close(focus) {
      const node = opened;
      opened = null;
      panel.remove();
      if (!node) return;
      node.setAttribute('aria-expanded', 'false');
      if (focus && node.isConnected) node.focus();
    }
    function open(node, { title, facts, label, numbers }, draw, ready = () => {}) {
      close(false);
      opened = node;
      node.setAttribute('aria-expanded', 'true');
      const head = make('div', 'mm-experts-head'), shut = make('button', 'mm-close', 'Close'), grid = make('div', 'mm-experts-grid');
      shut.onclick = () => close(true);
      head.append(make('b', '', title), make('span', '', facts), shut);
      panel.setAttribute('aria-label', label);
      grid.append(...Array.from(numbers, (number, i) => draw(number, i)));
      panel.replaceChildren(head, grid);
      box.append(panel);
      ready();
      walk(grid, all => all.filter(n => n.offsetTop === all[0].offsetTop).length);
    }
    box.addEventListener('keydown', e => { if (e.key === 'Escape' && opened) { e.stopPropagation(); close(true); } });
    return { panel, open, close, group: () => opened && opened.dataset.group };
  },
  // Makes a cell one that opens into a panel of experts.
  many(node, cell, row, panel) {
    node.classList.add('many');
    node.cell = cell;
    Object.assign(node.dataset, { group: cell.name, row });
    node.setAttribute('aria-expanded', 'false');
    node.setAttribute('aria-controls', panel.id);
  },
};
