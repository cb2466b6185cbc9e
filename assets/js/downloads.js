// PNG, SVG and CSV of a figure. `downloads` adds the three buttons of a canvas; plots use `save` and `table` alone.
function save(name, content, type) {
  const link = document.createElement('a'), blob = content instanceof Blob ? content : new Blob([content], { type });
  link.href = URL.createObjectURL(blob); link.download = name.replace(/[^\w.+-]+/g, '-'); link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
const quote = x => (/[",\n]/.test(String(x ?? '')) ? `"${String(x).replaceAll('"', '""')}"` : String(x ?? ''));
const table = rows => rows.map(row => row.map(quote).join(',')).join('\n') + '\n';
// Files are read on other grounds than this page's, dark or light: they bring their own.
const ground = () => getComputedStyle(document.body).getPropertyValue('--body-background-fill').trim() || '#fff';
function opaque(canvas) {
  const whole = document.createElement('canvas'), to = whole.getContext('2d');
  whole.width = canvas.width; whole.height = canvas.height;
  to.fillStyle = ground(); to.fillRect(0, 0, whole.width, whole.height); to.drawImage(canvas, 0, 0);
  return whole;
}
function downloadBar(root, actions) {
  const bar = document.createElement('div');
  bar.className = 'downloads'; bar.setAttribute('role', 'group'); bar.setAttribute('aria-label', 'Download this figure');
  for (const [label, act] of Object.entries(actions)) {
    const b = document.createElement('button');
    b.type = 'button'; b.textContent = label; b.title = `Download as ${label}`; b.dataset.save = label.toLowerCase(); b.onclick = act; bar.append(b);
  }
  root.append(bar);
}
function downloads(root, canvas, { name, csv, svg }) {
  const drawn = act => () => { if (+root.dataset.drawn) act(); };
  downloadBar(root, {
    PNG: drawn(() => opaque(canvas).toBlob(blob => save(name() + '.png', blob))),
    SVG: drawn(() => {
      const w = canvas.clientWidth, h = canvas.clientHeight, inside = svg ? `<rect width="100%" height="100%" fill="${ground()}"/>${svg(w, h)}` : `<image width="${w}" height="${h}" href="${opaque(canvas).toDataURL()}"/>`;
      save(name() + '.svg', `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}">${inside}</svg>`, 'image/svg+xml');
    }),
    CSV: drawn(() => save(name() + '.csv', table(csv()), 'text/csv')),
  });
}
