// Home: the dense model's text, marked where the pruned one would have gone on otherwise, and the pruned one's own.
const root = element.querySelector('.home'), find = selector => root.querySelector(selector);
const chosen = name => find(`input[name=home-${name}]:checked`);
const safe = text => text.replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);
const { prompts, dense, pruned, rounded, tile } = homeTexts, AS_COMPUTED = 'model';
const REMOVED = { dense: 'Take a language model as it is.', '3:4': 'Remove a quarter of a language model.',
  '2:4': 'Remove half of a language model.', '1:4': 'Remove three quarters of a language model.' };
const mega = bytes => `${Math.round(bytes / 1e6)} MB`, rate = speed => `${speed.toFixed(speed < 10 ? 1 : 0)} tokens/s`;
const perplexity = value => value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString('en');
const mask = livingMask(find('.home-mask canvas'));

function figure(name, value, note, tone) {
  return `<div class="${tone || ''}"><dt>${name}</dt><dd>${value}${note ? ` <span>${note}</span>` : ''}</dd></div>`;
}

function marked(pieces, otherwise) {
  const others = new Map(otherwise);
  return pieces.map((piece, place) => {
    if (!others.has(place)) return safe(piece);
    const [, space, word] = piece.match(/^(\s*)([^]*)$/);
    return `${space}<mark tabindex="0">${safe(word) || '¶'}<span class="home-other"><span class="home-say">, pruned:</span> `
      + `${safe(others.get(place).trim()) || '¶'}</span></mark>`;
  }).join('');
}

function card(kind, title, note, text, figures) {
  return `<article class="home-text ${kind}"><h3>${title}</h3><p class="home-written">${text}</p>`
    + `<p class="home-note">${note}</p><dl>${figures.join('')}</dl></article>`;
}

function cell(pattern, method, values) {
  if (values === AS_COMPUTED) return pruned[pattern]?.[method];
  return pattern === 'dense' ? Object.values(rounded[values]?.['1:1'] ?? {})[0] : rounded[values]?.[pattern]?.[method];
}

// Grey out what was not computed, and say so; returns the cell that is chosen, undefined for the dense model as it is.
function available(pattern) {
  const whole = pattern === 'dense', bits = [...root.querySelectorAll('input[name=home-values]')];
  for (const input of root.querySelectorAll('input[name=home-method]'))
    input.disabled = whole || !pruned[pattern]?.[input.value];
  if (!whole && chosen('method').disabled) find('input[name=home-method]:enabled').checked = true;
  const method = chosen('method'), what = whole ? 'the whole model' : `${method.nextElementSibling.textContent} at ${pattern}`;
  for (const input of bits) {
    input.disabled = input.value !== AS_COMPUTED && !cell(pattern, method.value, input.value);
    input.parentElement.title = input.disabled ? `Not computed for ${what}.` : '';
  }
  if (chosen('values').disabled) bits[0].checked = true;
  const missing = bits.filter(input => input.disabled).map(input => input.nextElementSibling.textContent);
  find('.home-why').textContent = [whole ? 'The whole model has no method: nothing is removed.' : '',
    missing.length ? `Not computed for ${what}: ${missing.join(', ').replace(/, (\d+)$/, ' and $1')} bits.` : ''].join(' ').trim();
  return cell(pattern, method.value, chosen('values').value);
}

function show() {
  const pattern = chosen('pattern').value, number = +chosen('prompt').value, found = available(pattern), bare = !found;
  const method = chosen('method'), whole = pattern === 'dense';
  const bits = chosen('values').value === AS_COMPUTED ? '' : chosen('values').nextElementSibling.textContent;
  const prompt = `<span class="home-prompt">${safe(prompts[number])}</span>`, pieces = dense.texts[number];
  const label = whole ? '' : method.nextElementSibling.textContent;
  find('.home-removed').textContent = !bits ? REMOVED[pattern] : whole ? `Round a language model to ${bits} bits.`
    : REMOVED[pattern].replace('.', `, and round the rest to ${bits} bits.`);
  const read = bare ? null : found.prompts[number], count = read?.otherwise.length;
  const note = bare ? 'Turn the dial to see where it breaks.'
    : count ? `Marked: ${count} of ${pieces.length} tokens at which the pruned model, reading this text, would have gone on otherwise.`
      : 'The pruned model, reading this text, would have chosen every token of it.';
  const speed = Object.values(Object.values(pruned)[0])[0].dense_tokens_per_second;
  const was = [figure('Perplexity', perplexity(dense.perplexity)), figure('Size', mega(dense.bytes)), figure('Speed', rate(speed))];
  let cards = card('dense', 'The whole model', note, prompt + marked(pieces, read?.otherwise ?? []), was);
  if (!bare) {
    const worse = found.perplexity / dense.perplexity, rated = found.tokens_per_second, faster = rated / speed;
    const is = [
      figure('Perplexity', perplexity(found.perplexity), `× ${worse < 10 ? worse.toFixed(2) : Math.round(worse).toLocaleString('en')}`, worse > 1.02 ? 'bad' : ''),
      figure('Size', mega(found.bytes), `− ${Math.round(100 * (1 - found.bytes / dense.bytes))} %`, 'good'),
      rated ? figure('Speed', rate(rated), `× ${faster.toFixed(2)}`, faster > 1.05 ? 'good' : faster < 0.95 ? 'bad' : '')
        : figure('Speed', 'not measured'),
    ];
    cards += card('pruned', [whole ? 'Every weight kept' : `${pattern} by ${safe(label)}`, bits && `${bits} bits`].filter(Boolean).join(', '), 'Its own continuation of the same words.', prompt + safe(read.text), is);
  }
  find('.home-texts').innerHTML = cards;
  move(pattern, whole ? '' : method.value, label);
}

let moving = '';
function move(pattern, method, label) {
  if (moving === pattern + method) return;
  moving = pattern + method;
  const bits = tile.masks[pattern]?.[method], words = find('.home-mask-words'), all = tile.rows * tile.columns;
  const kept = bits ? [...bits].map(Number) : new Array(all).fill(1), left = kept.filter(Boolean).length;
  const orphans = Array.from({ length: tile.columns }, (_, c) => c).filter(c => !kept.some((on, i) => on && i % tile.columns === c)).length;
  const lost = orphans ? `${orphans} input${orphans > 1 ? 's' : ''} of this window ${orphans > 1 ? 'have' : 'has'} none left and can say nothing to these outputs.`
    : 'Every input of this window still reaches an output.';
  words.textContent = `${left} of these ${all} weights stay${bits ? `, chosen by ${label}` : ''}. Each is a line from an input, above, to an output, below. ${lost}`;
  find('.home-mask canvas').setAttribute('aria-label', `A window of ${tile.rows} by ${tile.columns} weights, which becomes a graph. ${words.textContent}`);
  mask.show(tile, kept);
}

// What is chosen stands behind the address's #, so that a link shows it to somebody else.
const NAMES = ['pattern', 'method', 'prompt', 'values'], told = location.hash.slice(1).split(',');
NAMES.forEach((name, i) => {
  const input = [...root.querySelectorAll(`input[name=home-${name}]`)].find(one => one.value === told[i]);
  if (input) input.checked = true;
});
root.addEventListener('change', () => {
  show();
  history.replaceState(null, '', `${location.pathname}${location.search}#${NAMES.map(name => chosen(name).value)}`);
});
find('[data-again]').onclick = () => mask.again();
for (const button of root.querySelectorAll('[data-open]')) button.onclick = () => {
  places.open(button.dataset.open);
  if (button.dataset.open !== 'learn' && innerWidth < 768) document.querySelector('.sidebar:not(.open) .toggle-button')?.click();
};
show();
