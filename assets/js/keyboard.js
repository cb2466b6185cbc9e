// Keys that the whole page knows: arrows between tabs, and Tab out of a list.
addEventListener('keydown', event => {
  const at = event.target;
  if (!at.matches) return;
  if (['Tab', 'Shift'].includes(event.key) && at.matches('input[aria-controls$="-options"]')) {
    event.stopImmediatePropagation();  // gradio would filter the list by what is chosen, and open it behind the focus
    return;
  }
  if (!at.matches('[role=tab]')) return;
  const tabs = [...at.closest('[role=tablist]').querySelectorAll('[role=tab]:not(:disabled)')], here = tabs.indexOf(at);
  const next = { ArrowRight: (here + 1) % tabs.length, ArrowLeft: (here || tabs.length) - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  tabs[next].focus();
  tabs[next].click();
}, true);
