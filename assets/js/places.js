// Where a visitor is: the place and the tab in it, in the address, in the browser's history and on the page's root.
const places = (() => {
  const IN = /* places */{};                                 // place -> its tabs, as addresses call them
  const KEPT = ['__theme'], placeOf = tab => Object.keys(IN).find(place => IN[place].includes(tab));
  const selected = bar => document.querySelector(`${bar} > .tab-wrapper [role=tab][aria-selected=true]`)?.dataset.tabId;
  const button = (bar, id) => document.querySelector(`${bar} > .tab-wrapper [role=tab][data-tab-id="${id}"]`);
  const asked = query => placeOf(query.get('tab')) ? query.get('tab') : query.get('step') ? 'learn'
    : ['tab', 'run', 'model', 'layer'].some(name => query.get(name)) ? 'overview' : 'home';
  let expected = asked(new URLSearchParams(location.search)); // what the page is about to show
  let told = false, run = '', awaited = '', clicked = false; // of runs their keys

  const inView = () => {
    const place = selected('#tabs');
    return place && (IN[place].length > 1 ? selected(`#${place}-tabs`) : IN[place][0]);
  };
  const mark = tab => { document.documentElement.dataset.place = placeOf(tab); };

  function write(query, step) {                                // as a step of the history, or in place of the one at hand
    const next = `?${query}`;                                   // a needless write would stop a way back that has begun
    if (step || next !== location.search) history[step ? 'pushState' : 'replaceState'](null, '', next + location.hash);
  }

  function changed(values) {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(values)) query.set(name, value);
    if (query.get('tab') !== 'learn') query.delete('step');
    write(query, true);
  }

  function moved() {                                          // another tab is in view
    const tab = inView();
    if (!tab) { if (selected('#tabs')) setTimeout(moved, 30); return; }   // the tabs within are not there yet
    if (expected) {
      if (tab === expected) expected = '';
      clicked = false;
      return;
    }
    mark(tab);
    const step = () => { if (told && !expected && inView() === tab && tab !== asked(new URLSearchParams(location.search))) changed({ tab }); };
    if (clicked) step(); else setTimeout(step, 400);           // of what the server opened it says more in a moment
    clicked = false;
  }

  function expect(tab) {                                      // no step of the history until it is in view
    expected = tab;
    setTimeout(() => { if (expected === tab) { expected = ''; moved(); } }, 3000);
  }

  function open(tab, quietly) {
    const place = placeOf(tab);
    if (inView() === tab) return;
    if (quietly) expect(tab);
    mark(tab);
    button('#tabs', place)?.click();
    let tries = 50;
    const inner = () => {
      if (IN[place].length < 2) return moved();
      const at = button(`#${place}-tabs`, tab);
      if (at) { at.click(); setTimeout(moved); } else if (tries--) setTimeout(inner, 20);
    };
    setTimeout(inner);
  }

  addEventListener('popstate', () => {
    const query = new URLSearchParams(location.search), step = query.get('step');
    open(asked(query), true);
    if (step) document.querySelector(`#lesson-steps input[value="${CSS.escape(step)}"]:not(:checked)`)?.click();
    if (query.get('run') && query.get('run') !== run) {
      const wanted = awaited = run = query.get('run');
      setTimeout(() => { if (awaited === wanted) awaited = ''; }, 5000);
      document.querySelector('#go').click();
    }
  });
  addEventListener('click', event => {
    if (event.target.closest?.('#tabs [role=tab]:not([aria-selected=true])')) clicked = true;
  }, true);
  mark(expected);
  new MutationObserver(moved).observe(document.documentElement, { subtree: true, attributeFilter: ['aria-selected'] });

  if (!['home', 'learn', 'overview', 'plan'].includes(expected)) // the others begin with charts
    document.head.append(Object.assign(document.createElement('link'), { rel: 'preload', as: 'script', href: '/* plotly */' }));

  return {
    told(text) {                                              // the server says what is in view
      const shown = new URLSearchParams(location.search), next = new URLSearchParams(text);
      if (awaited && next.get('run') !== awaited) return;     // of the run before
      awaited = '';
      const another = told && run && next.get('run') !== run, moving = !told || another && next.get('tab') !== inView();
      const tab = moving ? next.get('tab') : expected || inView() || asked(shown); // what was clicked may not be there yet
      const step = another || told && !expected && tab !== asked(shown); // the server may answer a click before it is seen
      if (tab === inView()) expected = '';
      else if (moving) expect(tab);
      next.set('tab', tab);
      mark(tab);
      for (const name of [...KEPT, ...(tab === 'learn' ? ['step'] : [])])
        if (shown.has(name)) next.set(name, shown.get(name));
      told = true;
      run = next.get('run');
      write(next, step);
    },
    step(name) {                                              // another step of the lesson, which may be left by now
      if (inView() === 'learn' && new URLSearchParams(location.search).get('step') !== name) changed({ tab: 'learn', step: name });
    },
    open,
    first: expected,
    ready: () => told && !expected,
  };
})();
