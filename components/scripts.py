"""What the page runs in the browser, and the line above it; assets/js/places.js holds what these call."""

from eggs_core.assets import ASSETS

CLOSE_SIDEBAR_ON_PHONES = (
    "() => { if (window.innerWidth < 768) document.querySelector('.sidebar.open .toggle-button')?.click(); }"
)
SET_ADDRESS = "query => places.told(query)"
OPEN_MASK = "() => places.open('masks')"
QUERY = "(state, _) => [state, location.search.slice(1)]"
WHEN_IDLE = """state => new Promise(done => {
  const idle = window.requestIdleCallback ?? (go => setTimeout(go, 500));
  idle(() => done(state), { timeout: 3000 });
})"""
START_PENDING = "key => { if (key) document.querySelector('#prune').click(); }"
HEADER = (
    f'<div class="brand">{(ASSETS / "logo.svg").read_text(encoding="utf-8")}<div><h1>EGGS Explorer</h1>'
    "<p>Prune a language model to N of every M weights, and see what stays connected.</p></div></div>"
)
