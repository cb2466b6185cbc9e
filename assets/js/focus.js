// Who works by keyboard never loses the place: where what has the focus goes away or is disabled, what took its place
// gets it: the other button of a pair, the heading of the lesson's step, else what is nearest.
{
  const FOCUSABLE = 'button, input, select, textarea, a[href], [tabindex]:not([tabindex="-1"])';
  let last = null, trail = [], byKeyboard = false, looks = false;

  const usable = at => at?.isConnected && !at.matches(':disabled, [aria-disabled=true]') && at.checkVisibility({ visibilityProperty: true });
  // The first part in a place; of a place with tabs the one that is open.
  const within = place => [place.querySelector(':scope > .tab-wrapper [role=tab][aria-selected=true]'),
    ...place.querySelectorAll(FOCUSABLE)].find(usable);

  const twin = id => {
    const other = { prune: 'stop', stop: 'prune' }[id] ?? (/-start$/.test(id) ? id.replace(/start$/, 'stop') : id.replace(/stop$/, 'start'));
    return other !== id && document.getElementById(other);
  };
  const heading = () => {
    const found = last.closest?.('#lesson') && document.querySelector('#lesson-words h2');
    if (found) found.tabIndex = -1;
    return found;
  };
  const nearest = () => {
    for (const { place, id } of trail) {
      const here = place.isConnected ? place : id && document.getElementById(id);
      if (!here || here === document.body) continue;
      const found = usable(here) && here.matches(FOCUSABLE) ? here : within(here);
      if (found) return found;
    }
    return document.querySelector('[role=tab][aria-selected=true]');
  };

  const look = () => {
    looks = false;
    const at = document.activeElement;
    if (!last || !byKeyboard || (at !== document.body && at !== last) || usable(last)) return;
    [twin(last.id), heading(), nearest()].find(usable)?.focus();
  };
  const soon = () => {
    if (looks || !last || !byKeyboard) return;
    looks = true;
    setTimeout(look, 30);  // a part that is built anew is there by then
  };

  addEventListener('keydown', () => { byKeyboard = true; }, true);
  addEventListener('pointerdown', () => { byKeyboard = false; }, true);
  addEventListener('focusin', event => {
    last = event.target;
    trail = [];
    for (let place = last; place; place = place.parentElement) trail.push({ place, id: place.id });
  });
  addEventListener('focusout', event => setTimeout(() => {  // it was left, and nothing took it away
    if (event.target === last && document.activeElement === document.body && usable(last)) last = null;
  }));
  new MutationObserver(soon).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ['disabled', 'class', 'hidden'] });
}
