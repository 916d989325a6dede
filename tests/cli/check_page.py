#!/usr/bin/env python3
"""Opens a report page in Chromium, on a wide and on a narrow window, and uses it: `check_page.py PAGE.html [PICTURE.png]`.

Looks for what a user would stumble over: errors on the console, anything asked of a network, a page wider than its window, cells that say
nothing when hovered over, heads that cannot be chosen. Exit status 77: there is no browser here (scripts/setup browser).
"""

import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / ".deps/browser"))


def say_skipped(reason):
    print(f"{reason}: scripts/setup browser")
    sys.exit(77)


try:
    from selenium import webdriver
    from selenium.common.exceptions import SessionNotCreatedException, TimeoutException
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select, WebDriverWait
except ImportError:
    say_skipped("there is no selenium here")


def start(width, height):
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        say_skipped("there is no Chromium here")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={width},{height}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    except SessionNotCreatedException as error:
        say_skipped(f"Chromium does not start here ({error.msg})")


class Page:
    def __init__(self, browser, path):
        self.browser = browser
        browser.get(pathlib.Path(path).resolve().as_uri())
        self.drawn()

    def run(self, script, *arguments):
        return self.browser.execute_script(f"return {script}", *arguments)

    def wait(self, condition, seconds=60):
        WebDriverWait(self.browser, seconds, 0.05).until(lambda _: self.run(condition), message=condition)

    def drawn(self):
        self.wait("document.body.dataset.drawn === 'yes'")

    def element(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def choose(self, selector, value):
        Select(self.element(selector)).select_by_value(str(value))
        self.drawn()

    def over(self, selector, across, down):
        """The pointer over a place of a chart, parts of its width and height from its upper left."""
        canvas = self.element(f"{selector} canvas")
        self.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
        size = canvas.size
        return ActionChains(self.browser).move_to_element_with_offset(
            canvas, int((across - 0.5) * size["width"]), int((down - 0.5) * size["height"]))


def check_layout(page):
    over = page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, f"the page is {over} pixels wider than its window"
    assert page.run("performance.getEntriesByType('resource').length") == 0, "the page asks for more than itself"
    for chart in ["#by-layer", "#heat-maps", "#curve", "#map-softmax", "#map-linear", "#entropy"]:
        width, height = (page.element(f"{chart} canvas").size[side] for side in ["width", "height"])
        assert width > 100 and height > 40, f"{chart} is {width}×{height}"
    for canvas in page.browser.find_elements(By.CSS_SELECTOR, "#heat-maps canvas, #by-layer canvas, #curve canvas, #entropy canvas"):
        place = page.run("arguments[0].closest('.chart').clientWidth", canvas)
        assert canvas.size["width"] <= place + 1, f"a chart is {canvas.size['width']} wide, its place {place}"


def check_heads(page):
    title = lambda: page.element("#head-title").text
    chosen = title()
    for row in page.browser.find_elements(By.CSS_SELECTOR, "#worst tr[data-head]"):
        layer, head = row.get_attribute("data-head").split()
        if f"Layer {layer}, head {head}" != chosen:
            page.run("arguments[0].click()", row)
            page.drawn()
            assert title() == f"Layer {layer}, head {head}", title()
            break
    else:
        raise AssertionError("the list has no other head")
    page.choose("#layer", 1)
    page.choose("#head-number", 2)
    assert title() == "Layer 1, head 2", title()
    page.choose("#measure", "monotonicity")
    assert "monotonicity" in page.element("#worst").text
    assert "Spearman" in page.element("#measure-help").text
    # A click on a cell of the heat map chooses its head.
    before = title()
    for across in [0.3, 0.5, 0.7, 0.9]:
        page.over("#heat-maps", across, 0.6).click().perform()
        page.drawn()
        if title() != before:
            return
    raise AssertionError(f"clicks on the heat map leave {before}")


def check_hover(page, selector, words):
    said = "(document.querySelector('#vg-tooltip-element.visible') || {}).innerText || ''"
    for down in [0.35, 0.45, 0.55, 0.65]:
        page.over(selector, 0.3, down).perform()
        try:
            page.wait(f"{list(words)}.every((word) => ({said}).includes(word))", seconds=2)
            return
        except TimeoutException:
            pass  # between two cells, or beside them
    raise AssertionError(f"{selector} says '{page.run(said)}' when hovered over")


def check(path, width, height, picture=None):
    browser = start(width, height)
    try:
        began = time.monotonic()
        page = Page(browser, path)
        print(f"{width} wide: drawn after {time.monotonic() - began:.1f} s")
        check_layout(page)
        check_heads(page)
        page.choose("#model", page.run("document.querySelector('#model').options.length - 1"))  # a stage has no maps
        check_hover(page, "#map-linear", ["query", "key", "softmax", "linear"])
        check_hover(page, "#heat-maps", ["layer", "head"])
        if picture:
            browser.set_window_size(width, page.run("document.documentElement.scrollHeight") + 100)
            time.sleep(1)
            browser.save_screenshot(picture)
        messages = [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]]
        assert not messages, f"the console says {messages}"
    finally:
        browser.quit()


def main():
    path = sys.argv[1]
    size = pathlib.Path(path).stat().st_size
    assert size < 5e6, f"{path} has {size} bytes"
    check(path, 1280, 900, sys.argv[2] if len(sys.argv) > 2 else None)
    check(path, 420, 800)
    print("the page is as it should be")


if __name__ == "__main__":
    main()
