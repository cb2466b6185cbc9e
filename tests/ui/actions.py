"""What browser tests do again and again."""

TABS = {  # name -> charts and canvases that it draws
    "Overview": ["#overview-map .model-map"],
    "Plan": ["#plan-canvas .plan"],
    "Masks": ["#model-map .model-map", "#mask-canvas .mask-view", "#degree-chart .plot"],
    "Expander graph": ["#topn-graph .graph-view", "#mask-graph .graph-view"],
    "Spectrum": ["#gap-chart .plot"],
    "Accuracy": ["#forest .plot", "#window-scatter .plot"],
    "Compare": [f"#compare-{name} .plot" for name in ("size", "speed", "heat", "forest")] + ["#structure .plot"],
    "Runs": [],
    "Latency & size": ["#size-chart .plot", "#decode-chart .plot", "#prefill-chart .plot"],
}
WHERE = {  # name -> its place on the page, and what it is called in there if that has tabs of its own
    "Home": ("home", ""),
    "Learn": ("learn", ""),
    "Overview": ("layers", "overview"),
    "Plan": ("layers", "plan"),
    "Masks": ("layers", "masks"),
    "Expander graph": ("layers", "graph"),
    "Spectrum": ("layers", "spectrum"),
    "Accuracy": ("quality", ""),
    "Latency & size": ("speed", ""),
    "Compare": ("runs", "compare"),
    "Runs": ("runs", "runs"),
}


def tab_button(page, bar: str, name: str):
    """The button of a place in the bar "#tabs", or of a tab in a bar of a place's own."""
    return page.locator(f'{bar} > .tab-wrapper [role=tab][data-tab-id="{name}"]')


def open_tab(page, name: str, empty: tuple[str, ...] = ()) -> None:
    """Open a place and its tab, and wait until the tab's figures are drawn, all but `empty`."""
    place, tab = WHERE[name]
    tab_button(page, "#tabs", place).click()
    if tab:
        tab_button(page, f"#{place}-tabs", tab).click()
    for selector in TABS.get(name, ()):
        if selector not in empty:
            page.wait_for_function("s => document.querySelector(s)?.dataset.drawn > 0", arg=selector)


def unfold(page, selector: str) -> None:
    """Open an accordion."""
    fold = page.locator(f"{selector} > button")
    if "open" not in fold.get_attribute("class").split():
        fold.click()


def open_section(page, name: str) -> None:
    """Select a section of the Accuracy tab, which is open."""
    tab = page.locator("#accuracy-sections").get_by_role("tab", name=name)
    if tab.count():
        tab.click()
    else:
        page.locator("#accuracy-sections").get_by_label("More tabs").click()
        page.locator("#accuracy-sections .overflow-dropdown").get_by_text(name, exact=True).click()


def pick(page, selector: str, option: str) -> None:
    """Choose an option of a dropdown."""
    page.click(f"{selector} input")
    page.get_by_role("option", name=option, exact=True).click()


def data(page, selector: str) -> dict[str, str]:
    return page.evaluate("s => ({...document.querySelector(s).dataset})", selector)


def wait_data(page, selector: str, **wanted) -> None:
    """Wait until data attributes have the given values."""
    page.wait_for_function(
        "([s, w]) => Object.keys(w).every(k => document.querySelector(s)?.dataset[k] === String(w[k]))",
        arg=[selector, wanted],
    )


def choose(page, model: str | None = None, pattern: str | None = None, method: str | None = None) -> None:
    """Set the sidebar's main controls."""
    if model is not None:
        page.fill("#model input", model)
        page.press("#model input", "Enter")
    if pattern is not None:
        page.locator("#pattern label").get_by_text(pattern, exact=True).click()
    if method is not None:
        page.click("#method input")
        page.get_by_role("option", name=method, exact=True).click()
        page.wait_for_function("m => document.querySelector('#method input')?.value === m", arg=method)


def free_pattern(page, keep: int, group: int) -> None:
    """Choose N and M freely."""
    choose(page, pattern="other")
    page.fill("#keep input", str(keep))
    page.fill("#group input", str(group))
    page.press("#group input", "Tab")


def small_calibration(page, windows: int = 4, length: int = 64) -> None:
    """Open "Advanced" and ask for little calibration, so that a run takes seconds."""
    page.locator("#advanced").get_by_text("Advanced").click()
    page.fill("#windows input", str(windows))
    page.fill("#length input", str(length))
    page.press("#length input", "Tab")


def prune(page) -> None:
    page.click("#prune:enabled")


def wait_done(page, model: str, pattern: str) -> None:
    """Wait for the finished run of a model and pattern."""
    page.wait_for_function(
        "start => document.querySelector('#facts')?.textContent.trim().startsWith(start)", arg=f"{model} · {pattern} ·"
    )
    page.wait_for_function("document.querySelector('#progress')?.textContent.includes('Done in')")
    page.wait_for_selector("#prune:enabled", state="attached")


def refusal(page) -> str:
    """The sentence that says what is wrong; Prune works again."""
    page.wait_for_selector("#progress .bad")
    page.wait_for_selector("#prune:enabled")
    return page.inner_text("#progress .bad")
