"""A plan in a real browser: painted by mouse, keys and touch, filled by a budget, pruned, and opened by its address."""

import json

import pytest
from actions import choose, data, open_tab, prune, small_calibration, wait_data

from benchmarks.mixture import mixture_plan, mixture_run
from components.places.plan.painting.view import canvas_value, choices_value, layers_of
from eggs_core.config import make_config

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
PLAN = "#plan-canvas .plan"
UP, DOWN = "model.layers.{}.mlp.up_proj", "model.layers.{}.mlp.down_proj"


@pytest.fixture
def page(open_page):
    """The Plan tab on the bundled model."""
    page = open_page()
    open_tab(page, "Plan")
    return page


def cell(name: str) -> str:
    return f'#plan-canvas [data-layer="{name}"]'


def brush(page, pattern: str) -> None:
    page.click(f'#plan-canvas [data-brush]:text-is("{pattern}")')
    wait_data(page, PLAN, brush=pattern)


def patterns(page) -> dict[str, str]:
    """What the canvas shows of each layer."""
    found = page.evaluate(
        "[...document.querySelectorAll('#plan-canvas [data-layer]')].map(n => [n.dataset.layer, n.dataset.pattern])"
    )
    return dict(found)


def wait_rules(page, text: str) -> None:
    """Wait until the sidebar has a plan's rules."""
    page.wait_for_function(
        "t => document.querySelector('#plan-rules textarea, #plan-rules input')?.value === t", arg=text
    )


def drag(page, first: str, last: str) -> None:
    page.hover(cell(first))
    page.mouse.down()
    page.hover(cell(last))
    page.mouse.up()


def test_layers_are_painted_one_by_one_by_rectangles_rows_and_blocks(page):
    assert set(patterns(page).values()) == {"2:4"} and len(patterns(page)) == 42
    before = int(data(page, PLAN)["bytes"])
    brush(page, "1:4")
    page.click(cell(UP.format(0)))
    wait_rules(page, "blocks 1 mlp.up_proj=1:4")
    assert patterns(page)[UP.format(0)] == "1:4" and int(data(page, PLAN)["bytes"]) < before
    page.wait_for_function("document.querySelector('#plan-note')?.innerText.includes('1 layer differs from 2:4')")
    drag(page, UP.format(2), DOWN.format(4))
    wait_rules(page, "blocks 1,3-5 mlp.up_proj=1:4;blocks 3-5 mlp.down_proj=1:4")  # others follow the sidebar
    brush(page, "dense")
    page.get_by_role("button", name="Paint all of block 6").click()
    wait_data(page, PLAN, differ=14)
    assert [p for name, p in patterns(page).items() if ".5." in name] == ["dense"] * 7
    page.get_by_role("button", name="Paint self_attn.q_proj in all blocks").click()
    wait_data(page, PLAN, differ=19)
    page.click("#plan-canvas [data-act=undo]")
    wait_data(page, PLAN, differ=14)
    page.click("#plan-canvas [data-act=reset]")
    wait_data(page, PLAN, differ=0)
    wait_rules(page, "")
    page.wait_for_selector("#plan-drop", state="hidden")


def test_everything_goes_by_keyboard(page):
    page.focus(cell("model.layers.0.self_attn.q_proj"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    name = "model.layers.1.self_attn.k_proj"
    assert page.evaluate("document.activeElement.dataset.layer") == name
    page.keyboard.press("2")
    wait_data(page, PLAN, brush="3:4")
    page.keyboard.press("Enter")
    wait_rules(page, "blocks 2 self_attn.k_proj=3:4")
    for _ in range(2):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("1")
    page.keyboard.press("Space")
    wait_rules(page, "blocks 2-4 self_attn.k_proj=dense")
    page.keyboard.press("Control+z")
    wait_rules(page, "blocks 2 self_attn.k_proj=3:4")
    page.keyboard.press("Control+z")
    wait_rules(page, "")


def test_a_budget_fills_the_canvas_and_another_sidebar_keeps_what_fits(page):
    page.fill("#plan-budget input[type=number]", "60")
    page.click("#plan-start")
    page.wait_for_function("document.querySelector('#plan-progress')?.innerText.includes('within 60%')")
    page.wait_for_function(f"+document.querySelector('{PLAN}')?.dataset.differ > 20")
    dense = sum(4 * layer.shape[0] * layer.shape[1] for layer in layers_of("tiny-llama"))
    assert 0.55 * dense < int(data(page, PLAN)["bytes"]) <= 0.6 * dense
    assert float(data(page, PLAN)["loss"]) > 0
    filled = patterns(page)
    page.click("#plan-canvas [data-act=undo]")
    wait_data(page, PLAN, differ=0)
    page.click(cell(UP.format(0)))  # the brush beside the sidebar's pattern
    page.wait_for_selector("#plan-drop:visible")
    choose(page, "tiny-opt")
    page.wait_for_function("document.querySelector('#plan-note')?.innerText.includes('tiny-opt has no layer for')")
    wait_rules(page, "")
    page.wait_for_function("document.querySelectorAll('#plan-canvas [data-layer]').length === 36")
    assert len(filled) == 42 and set(patterns(page).values()) == {"2:4"}


def test_a_painted_plan_is_pruned_and_its_address_paints_it_again(page, open_page):
    choose(page, method="RIA")
    small_calibration(page)
    brush(page, "1:4")
    drag(page, UP.format(0), DOWN.format(5))
    wait_rules(page, rules := "mlp.up_proj=1:4;mlp.down_proj=1:4")
    prune(page)
    page.wait_for_function("document.querySelector('#progress')?.textContent.includes('Done in')")
    page.wait_for_function("document.querySelector('#plan-outcome')?.innerText.includes('12 layers at 1:4')")
    query = page.evaluate("location.search")
    assert "layers=mlp.up_proj" in query and "tab=plan" in query
    small = {"calibration_windows": 4, "calibration_length": 64}
    key = make_config("tiny-llama", "2:4", "ria", layers=rules.split(";"), **small).key()
    assert f"run={key}" in query
    again = open_page(query=query)
    wait_rules(again, rules)
    wait_data(again, PLAN, differ=12)
    assert patterns(again) == patterns(page)
    assert "12 layers differ from 2:4" in again.inner_text("#plan-note")
    open_tab(again, "Masks")
    again.locator("#map-measure label").get_by_text("kept weights", exact=True).click()
    again.wait_for_function("document.querySelectorAll('#model-map [data-layer]')[41].title.includes('kept weights')")
    kept = again.evaluate("[...document.querySelectorAll('#model-map [data-layer]')].map(n => n.textContent)")
    assert sorted(set(kept)) == ["25.0%", "50.0%"] and kept.count("25.0%") == 12
    again.click("#plan-drop")
    wait_rules(again, "")
    again.wait_for_selector("#plan-drop", state="hidden")


def test_losses_are_measured_with_progress_and_shown(page):
    choose(page, method="Magnitude")
    small_calibration(page)
    page.wait_for_function("document.querySelector('#plan-sources')?.innerText.includes('was not measured for')")
    assert page.locator("#plan-canvas [data-act=loss]").count() == 0
    page.click("#plan-measure")
    page.wait_for_function("document.querySelector('#plan-progress')?.innerText.includes('Measured.')")
    page.click("#plan-canvas [data-act=loss]")
    page.wait_for_function("document.querySelector('#plan-canvas .mm-legend')?.innerText.includes('nats')")
    assert "measured here" in page.inner_text("#plan-sources")
    assert "By 1:4, the model is predicted" in page.inner_text("#plan-weakest") or "By 2:8" in page.inner_text(
        "#plan-weakest"
    )


def test_a_finger_paints_on_a_phone(open_page):
    page = open_page(width=390, height=844)
    open_tab(page, "Plan")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    brush(page, "3:4")
    page.dispatch_event(cell(UP.format(3)), "pointerdown", {"pointerType": "touch", "button": 0, "buttons": 1})
    box = page.locator(cell(UP.format(3))).bounding_box()
    middle = {"clientX": box["x"] + box["width"] / 2, "clientY": box["y"] + box["height"] / 2, "pointerType": "touch"}
    page.dispatch_event(cell(UP.format(3)), "pointerup", middle)
    wait_rules(page, "blocks 4 mlp.up_proj=3:4")


def show_mixture(page, blocks: int, experts: int) -> None:
    """A canvas of its own in the tab's place, as no model that ships is a mixture."""
    plan = mixture_plan(mixture_run(blocks, experts))
    page.evaluate(
        """([value, choices]) => {
        const holder = document.createElement('div');
        holder.innerHTML = '<div class="plan"></div>';
        document.querySelector('#plan-canvas').replaceChildren(holder);
        eggs.plan = JSON.parse(choices);
        eggs.plan_canvas(holder, () => {}, { value }, () => {}); }""",
        [json.dumps(value(plan)) for value in (canvas_value, choices_value)],
    )


def test_a_finger_scrolls_by_the_numbers_of_blocks_and_paints_on_cells(open_page):
    page = open_page(width=390, height=844)
    open_tab(page, "Plan")
    show_mixture(page, 48, 2)
    assert "scroll the others into view" in page.inner_text("#plan-canvas .mm-legend")
    client = page.context.new_cdp_session(page)
    found = []
    for selector in (".mm-cell", "button.mm-block"):
        page.locator(f"#plan-canvas {selector}").first.scroll_into_view_if_needed()
        box = page.locator(f"#plan-canvas {selector}").nth(12).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for step in range(1, 9):
            client.send(
                "Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x - 10 * step, "y": y}]}
            )
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(300)
        found.append((page.evaluate("document.querySelector('#plan-canvas .mm-grid').scrollLeft"), data(page, PLAN)))
    (first, painted), (second, scrolled) = found
    assert first == 0 and int(painted["differ"]) > 2
    assert second > 0 and scrolled["differ"] == painted["differ"]


def test_a_blocks_experts_are_painted_together_or_one_by_one(page):
    show_mixture(page, 2, 4)
    group = '#plan-canvas [data-group="model.layers.1.mlp.experts.*.down_proj"]'
    expert = cell("model.layers.1.mlp.experts.{}.down_proj")
    brush(page, "1:4")
    page.click(group)
    wait_data(page, PLAN, differ=4)
    page.click("#plan-canvas [data-act=open]")
    page.click(group)
    assert page.get_attribute(group, "aria-expanded") == "true"
    brush(page, "dense")
    page.click(expert.format(2))
    wait_data(page, group, pattern="mixed")
    assert [page.get_attribute(expert.format(i), "data-pattern") for i in range(4)] == ["1:4", "1:4", "dense", "1:4"]
    page.keyboard.press("Control+z")
    wait_data(page, group, pattern="1:4")
