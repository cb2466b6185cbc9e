// A window of a mask on a canvas: dropped weights fall, kept ones glide into the lines of its bipartite graph.
function livingMask(canvas) {
  const SECONDS = 1.2, WAIT = 0.45, BLINK = 3, still = matchMedia('(prefers-reduced-motion: reduce)');
  const colour = name => getComputedStyle(canvas).getPropertyValue(name).trim();
  const ease = t => t < 0.5 ? 4 * t * t * t : 1 - (2 - 2 * t) ** 3 / 2;
  let tile, kept, started = 0, frame = 0, largest = 1;

  function draw(now) {
    const width = canvas.clientWidth, height = Math.round(Math.min(300, 130 + width / 4)), dpr = devicePixelRatio || 1;
    if (!width) return;
    canvas.style.height = `${height}px`;
    if (canvas.width !== Math.round(width * dpr) || canvas.height !== Math.round(height * dpr)) {
      canvas.width = Math.round(width * dpr);
      canvas.height = Math.round(height * dpr);
    }
    const c = canvas.getContext('2d'), { rows, columns } = tile, run = (now - started) / 1000 - WAIT;
    const t = still.matches ? 1 : Math.min(Math.max(run / SECONDS, 0), 1), at = ease(t);
    c.setTransform(dpr, 0, 0, dpr, 0, 0);
    c.clearRect(0, 0, width, height);
    const top = 14, bottom = height - 14, step = Math.min((width - 24) / columns, 46), side = Math.min(step - 4, (bottom - top - 26) / rows - 3);
    const left = (width - step * columns) / 2, inputX = i => left + (i + 0.5) * step, outputX = o => left + (o + 0.5) * step * columns / rows;
    const first = (top + bottom - rows * (side + 3)) / 2 + side / 2, mix = (a, b) => a + (b - a) * at;
    const blue = colour('--mask-score'), quiet = colour('--mask-line'), lost = colour('--mask-orphan');
    const edges = new Array(columns).fill(0);
    for (let i = 0; i < rows * columns; i++) {
      const row = Math.floor(i / columns), column = i % columns, x = inputX(column), y = first + row * (side + 3);
      const strength = 0.3 + 0.7 * Math.abs(tile.weights[i]) / largest;
      c.globalAlpha = strength;
      if (kept[i]) {                                           // a square is a short, thick line
        edges[column]++;
        c.strokeStyle = blue;
        c.lineWidth = mix(side, 1.2 + 1.3 * strength);
        c.beginPath();
        c.moveTo(mix(x, inputX(column)), mix(y - side / 2, top));
        c.lineTo(mix(x, outputX(row)), mix(y + side / 2, bottom));
        c.stroke();
      } else if (t < 1) {
        c.globalAlpha = strength * (1 - t);
        c.fillStyle = t ? quiet : blue;
        c.fillRect(x - side / 2, y - side / 2 + t * t * (height - y), side, side);
      }
    }
    const since = run - SECONDS, blink = still.matches || since < 0 || since > BLINK ? 1 : 0.55 + 0.45 * Math.cos(since * 2 * Math.PI);
    const dot = (x, y, fill, radius) => { c.fillStyle = fill; c.beginPath(); c.arc(x, y, radius, 0, 7); c.fill(); };
    c.globalAlpha = at;
    for (let o = 0; o < rows; o++) dot(outputX(o), bottom, colour('--graph-output'), 6);
    for (let i = 0; i < columns; i++) {
      c.globalAlpha = edges[i] ? at : at * blink;
      dot(inputX(i), top, edges[i] ? colour('--graph-input') : lost, edges[i] ? 5 : 7);
    }
    c.globalAlpha = 1;
    canvas.dataset.drawn = t;
    frame = !still.matches && run < SECONDS + BLINK ? requestAnimationFrame(draw) : 0;
  }

  const begin = () => { started = performance.now(); cancelAnimationFrame(frame); frame = requestAnimationFrame(draw); };
  const redraw = () => { if (tile && !frame) frame = requestAnimationFrame(draw); };
  new ResizeObserver(redraw).observe(canvas);
  new MutationObserver(redraw).observe(document.body, { attributeFilter: ['class'] });
  return {
    show(window, mask) {                                       // { rows, columns, weights }, and 0 or 1 for each weight
      [tile, kept] = [window, mask];
      largest = Math.max(...tile.weights.map(Math.abs));
      begin();
    },
    again: begin,
  };
}
