"""The page at /, in a real browser, against the real service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from ray import serve

from heart.attribute import Attribute
from heart.attributes import ATTRIBUTES, BY_NAME, NAMES
from heart.bundle import Bundle
from heart.settings import Settings
from serve_app import page as files
from serve_app.deployment import build
from serve_app.page import POLICY, SECTIONS, sentence, spelt
from serve_app.security import Reach, new_key
from tests.serve_app.browsing import browsing

PHONE = {"width": 360, "height": 740}
SCHEMES = ("light", "dark")

# The contrast of each text with the nearest background under it (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (part) => {
    for (; part; part = part.parentElement) {
      const colour = getComputedStyle(part).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const told = (part) => part.checkVisibility() && !part.closest(".spoken")
    && [...part.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
  return [...document.body.querySelectorAll("*")].filter(told).map((part) => {
    const pair = [light(getComputedStyle(part).color), light(ground(part))];
    return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), part.textContent.trim()];
  });
}"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def keyed(serve_url: str, champion_home: Path) -> Iterator[tuple[str, str]]:
    """The address of a service that asks for a key, and the key."""
    key, entry = new_key("ward", [Reach.PREDICT])
    settings = Settings(home=champion_home, api_keys=entry)
    serve.run(build(settings), name="keyed", route_prefix="/keyed")
    yield f"{serve_url}/keyed/", key
    serve.delete("keyed")


@pytest.fixture(scope="module")
def browser(service: str, keyed: tuple[str, str]) -> Iterator[Browser]:
    """Opened once the services are up: see `browsing`."""
    with browsing() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, service: str) -> Iterator[Page]:
    """The page as a new visitor sees it. Nothing is asked of another host, and nothing breaks."""
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        asked: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.goto(f"{service}/")
        expect(page.locator("#facts")).to_contain_text("Version")
        yield page
        assert [url for url in asked if not url.startswith((service, "data:"))] == []
        # Chromium itself writes a line where the service refuses or cannot be reached.
        assert [line for line in wrong if not line.startswith("Failed to load resource")] == []


def field(page: Page, name: str) -> Locator:
    return page.locator(f"[data-field={name}]")


def fill(page: Page, name: str, value: str) -> None:
    """Fill a number in, or choose a word; nothing where it is empty."""
    if BY_NAME[name].words:
        page.locator(f"input[name={name}][value='{value}']").check()
    else:
        page.locator(f"input[name={name}]").fill(value)


def ask(page: Page) -> dict[str, Any]:
    """Send the form; the answer, which is then on the page, or the error."""
    with page.expect_response("**/explain") as told:
        page.get_by_role("button", name="Estimate the probability").click()
    content: dict[str, Any] = told.value.json()
    return content


def example(page: Page, **changes: str) -> dict[str, Any]:
    """Ask about the example, with changes."""
    page.get_by_role("button", name="Fill in an example").click()
    for name, value in changes.items():
        fill(page, name, value)
    answer = ask(page)
    expect(page.locator("#answer")).to_be_visible()
    return answer


def shown_points(page: Page) -> list[float]:
    cells = page.locator("#contributions tr:not(.sum) td").all_inner_texts()
    return [float(cell.strip().replace("\N{MINUS SIGN}", "-")) for cell in cells]


def test_each_attribute_has_its_place() -> None:
    assert tuple(chain.from_iterable(SECTIONS.values())) == NAMES


def test_fields_are_those_of_the_attributes(page: Page) -> None:
    expect(page.locator("[data-field]")).to_have_count(len(ATTRIBUTES))
    for attribute in ATTRIBUTES:
        check_field(page, attribute)


def check_field(page: Page, attribute: Attribute) -> None:
    name = sentence(attribute.meaning)
    box = field(page, attribute.name)
    if not attribute.words:
        entry = page.get_by_label(name, exact=True)
        hint = f"{attribute.low:g} to {attribute.high:g} {attribute.unit}"
        expect(entry).to_have_accessible_description(re.compile(f"^{re.escape(hint)}"))
        expect(entry).to_have_attribute("type", "text")
        expect(box.locator("[required]")).to_have_count(int(attribute.required))
        return
    expect(box).to_have_role("radiogroup")
    expect(box).to_have_accessible_name(re.compile(f"^{re.escape(name)}"))
    words = [spelt(word) for word in attribute.words.values()]
    expected = words if attribute.required else [*words, "not known"]
    assert [label.strip() for label in box.locator("label").all_inner_texts()] == expected
    expect(box.locator(":checked")).to_have_count(0 if attribute.required else 1)


def test_it_shows_what_the_service_says(
    page: Page, client: httpx.Client, patient: dict[str, Any], bundle: Bundle
) -> None:
    answer = example(page)
    expected = client.post("/predict", json=patient).json()
    assert {key: answer[key] for key in expected} == expected
    expect(page.locator("#percent")).to_have_text(f"{answer['probability']:.0%}")
    expect(page.locator("#answer")).to_contain_text("narrowing of 50% or more")
    expect(page.locator("#decision")).to_have_text(f"Decision: {answer['decision']}")
    expect(page.locator("#meaning")).to_contain_text(f"{bundle.metadata.bounds.error_rate:.0%}")
    source = f"version {answer['model_version']}, run {answer['run_id']}"
    expect(page.locator("#source")).to_contain_text(source)
    expect(page.locator("#imputed")).to_be_hidden()
    expect(page.locator("#outside")).to_be_hidden()
    marker = page.locator("#marker").evaluate("part => part.style.left")
    assert float(marker.removesuffix("%")) == pytest.approx(100 * answer["probability"], abs=0.01)


def test_it_sends_words(page: Page) -> None:
    with page.expect_request("**/explain") as told:
        example(page)
    sent = json.loads(told.value.post_data or "")
    assert sent == {a.name: a.words[int(a.example)] if a.words else a.example for a in ATTRIBUTES}


def test_the_uncertainty_is_that_of_similar_patients(page: Page, bundle: Bundle) -> None:
    answer = example(page)
    bins = json.loads(bundle.evaluation)["assessment"]["bins"]
    near = min(bins, key=lambda b: abs(b["predicted"] - answer["probability"]))
    low, high = near["interval"]["low"], near["interval"]["high"]
    told = page.locator("#similar")
    expect(told).to_contain_text(
        f"({near['n']} patients, {round(100 * near['predicted'])}% on average)"
    )
    expect(told).to_contain_text(f"{round(100 * near['observed'])}% had such a narrowing")
    expect(told).to_contain_text(f"95% interval {round(100 * low)}% to {round(100 * high)}%")
    left, width = page.locator("#spread").evaluate("part => [part.style.left, part.style.width]")
    assert float(left.removesuffix("%")) == pytest.approx(100 * low, abs=0.01)
    assert float(width.removesuffix("%")) == pytest.approx(100 * (high - low), abs=0.01)


def test_the_parts_add_up_to_what_is_shown(page: Page) -> None:
    answer = example(page, age="67", thal="reversible_defect", ca="two_vessels")
    points = shown_points(page)
    assert points == sorted(points, key=abs, reverse=True)
    changes = [100 * c for c in answer["contributions"].values() if abs(c) >= 0.0005]
    assert sorted(points) == pytest.approx(sorted(changes), abs=0.051)
    base, risk = (
        float(text.removesuffix("%")) for text in page.locator("tr.sum td").all_inner_texts()
    )
    assert base == pytest.approx(100 * answer["base_probability"], abs=0.051)
    assert base + sum(points) == pytest.approx(risk, abs=0.1 * (len(points) + 2))
    row = page.locator("#contributions tr", has_text="Thallium stress test")
    expect(row).to_contain_text("reversible defect; typical:")
    raised = answer["contributions"]["thal"] > 0
    expect(row.locator(".raised" if raised else ".lowered")).to_have_count(1)


def test_what_is_not_known_is_filled_in_and_said(page: Page) -> None:
    answer = example(page, thal="", chol="", trestbps="0")
    assert sorted(answer["imputed"]) == ["chol", "thal", "trestbps"]
    told = page.locator("#imputed li").all_inner_texts()
    assert told == [sentence(BY_NAME[name].meaning) for name in answer["imputed"]]
    expect(page.locator("#outside")).to_be_hidden()


def test_what_is_outside_the_training_data_is_said(page: Page, bundle: Bundle) -> None:
    known = bundle.metadata.training_ranges["age"]
    example(page, age="101")
    expect(page.locator("#outside li")).to_have_text(
        f"Age 101 is outside the training range {known.low:g} to {known.high:g}"
    )


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("age", "300", "Age must be a number from 18 to 120 years, got 300"),
        ("age", "", "Age is required"),
        ("chol", "2oo", 'Chol must be a number from 50 to 1000 mg/dl, got "2oo"'),
        ("oldpeak", "1,2", 'Oldpeak must be a number from -10 to 10 mm, got "1,2"'),
        ("thalach", "1e3", 'Thalach must be a number from 30 to 250 beats/min, got "1e3"'),
    ],
)
def test_an_error_is_shown_where_it_is(page: Page, name: str, value: str, rule: str) -> None:
    example(page)
    fill(page, name, value)
    assert ask(page)["error"]["field"] == name
    entry = page.locator(f"input[name={name}]")
    expect(entry).to_be_focused()
    expect(entry).to_have_attribute("aria-invalid", "true")
    expect(entry).to_have_accessible_description(re.compile(re.escape(rule)))
    expect(page.locator("#answer")).to_be_hidden()
    fill(page, name, f"{BY_NAME[name].example:g}")
    ask(page)
    expect(page.locator("#answer")).to_be_visible()
    expect(entry).not_to_have_accessible_description(re.compile(re.escape(rule)))
    expect(page.locator(".wrong:visible")).to_have_count(0)
    expect(page.locator("[aria-invalid]")).to_have_count(0)


def test_a_choice_that_must_be_made(page: Page) -> None:
    fill(page, "age", "60")
    ask(page)
    group = page.get_by_role("radiogroup", name=re.compile("^Sex"))
    expect(group).to_have_attribute("aria-invalid", "true")
    expect(group).to_have_accessible_description(re.compile("^Sex is required"))
    expect(group.get_by_label("female", exact=True)).to_be_focused()


def test_an_answer_for_other_values_says_so(page: Page) -> None:
    example(page)
    expect(page.locator("#stale")).to_be_hidden()
    fill(page, "age", "70")
    expect(page.locator("#stale")).to_be_visible()
    fill(page, "age", "54")
    expect(page.locator("#stale")).to_be_hidden()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.locator("input[name=age]")).to_have_value("")


def test_the_keyboard_is_enough(page: Page) -> None:
    page.locator("#example").focus()
    reached: list[str] = []
    for attribute in ATTRIBUTES:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name"))
        page.keyboard.press("Space") if attribute.words else page.keyboard.type("60")
        if attribute.name == "oldpeak":
            page.keyboard.press("Control+A")
            page.keyboard.type("1.5")
        if attribute.name == "cp":
            page.keyboard.press("ArrowDown")
    assert tuple(reached) == NAMES
    assert page.locator("[name=cp]:checked").get_attribute("value") == "atypical_angina"
    page.keyboard.press("Tab")
    outline = page.locator("#ask").evaluate("part => getComputedStyle(part).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_be_visible()
    expect(page.locator("#result-title")).to_be_focused()
    expect(page.get_by_role("status").filter(has_text="Probability")).to_have_count(1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_can_be_read_in_both_schemes(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")
    example(page, age="101", thal="")
    fill(page, "ca", "three_vessels")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 80
    assert [(round(c, 2), text) for c, text in contrasts if c < 4.5] == []


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    assert page.evaluate(OVERFLOW) == 0
    example(page, age="101", thal="", chol="")
    assert page.evaluate(OVERFLOW) == 0
    fill(page, "chol", "not a value")
    ask(page)
    expect(field(page, "chol").locator(".wrong")).to_be_visible()
    assert page.evaluate(OVERFLOW) == 0
    box = page.get_by_role("button", name="Estimate the probability").bounding_box()
    assert box is not None
    assert box["height"] >= 44


def test_nothing_moves_for_who_asked_for_that(page: Page) -> None:
    durations = page.evaluate(
        "[...document.querySelectorAll('*')].flatMap((part) => ["
        "getComputedStyle(part).transitionDuration, getComputedStyle(part).animationDuration])"
    )
    assert set(durations) == {"0s"}


def test_a_lost_network_is_said(page: Page) -> None:
    page.get_by_role("button", name="Fill in an example").click()
    page.context.set_offline(True)
    page.get_by_role("button", name="Estimate the probability").click()
    problem = page.locator("#problem")
    expect(problem).to_contain_text("The service cannot be reached")
    expect(problem).to_be_focused()
    page.context.set_offline(False)
    ask(page)
    expect(page.locator("#answer")).to_be_visible()
    expect(problem).to_be_hidden()


def test_a_key_is_asked_for_and_forgotten_with_the_tab(
    browser: Browser, keyed: tuple[str, str]
) -> None:
    address, key = keyed
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        entry = page.get_by_label("API key")
        expect(entry).to_be_visible()
        entry.fill("another")
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#key-why")).to_contain_text("not known")
        expect(entry).to_have_value("")
        expect(entry).to_be_focused()
        expect(page.locator("#spoken")).to_be_empty()
        page.get_by_role("button", name="Fill in an example").click()
        page.get_by_role("button", name="Estimate the probability").click()
        expect(page.locator("#spoken")).to_be_empty()
        expect(entry).to_be_focused()
        page.keyboard.type(key)
        page.keyboard.press("Enter")
        expect(page.locator("#answer")).to_be_visible()
        expect(page.locator("#key")).to_be_hidden()
        expect(page.locator("#facts")).to_contain_text("Version")
        page.reload()
        expect(page.locator("#facts")).to_contain_text("Version")
        other = context.new_page()
        other.goto(address)
        expect(other.get_by_label("API key")).to_be_focused()
        other.keyboard.type(key)
        other.keyboard.press("Enter")
        expect(other.get_by_role("status").filter(has_text="The key is accepted")).to_have_count(1)
        expect(other.get_by_role("heading", name="Patient")).to_be_focused()
        assert context.storage_state()["origins"] == []
        assert context.cookies() == []


def test_the_patient_stays_in_the_form(page: Page) -> None:
    example(page)
    kept = page.evaluate("[location.search, document.cookie, localStorage.length]")
    assert kept == ["", "", 0]
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.locator("input[name=age]")).to_have_value("")


def test_the_limits_are_those_of_the_model(page: Page, bundle: Bundle) -> None:
    area = bundle.metadata.test["roc_auc"]
    expect(page.locator("#facts")).to_contain_text(
        f"{area.value:.3f} (95% interval {area.low:.3f} to {area.high:.3f})"
    )
    family = bundle.metadata.recipe.family.replace("_", " ")
    expect(page.locator("#facts")).to_contain_text(f"{bundle.version}, {family}")
    age = bundle.metadata.training_ranges["age"]
    limits = page.locator("#limits")
    expect(limits).to_contain_text(f"ages outside {age.low:g} to {age.high:g} years")
    hospitals = json.loads(bundle.evaluation)["assessment"]["hospitals"]
    areas = [hospital["scores"]["roc_auc"]["value"] for hospital in hospitals]
    expect(limits).to_contain_text(f"ROC-AUC from {min(areas):.2f} to {max(areas):.2f}")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")],
)
def test_a_file_is_sent_once(client: httpx.Client, path: str, media_type: str) -> None:
    first = client.get(path)
    assert first.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    for tags in (first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*"):
        again = client.get(path, headers={"if-none-match": tags})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    changed = client.get(path, headers={"if-none-match": '"other"'})
    assert (changed.status_code, changed.content) == (200, first.content)


def test_the_policy_lets_nothing_inline_in(client: httpx.Client) -> None:
    assert client.get("/").headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'")
    html = files.render()
    assert re.findall(r"<script(?! type=\"module\" src=\"page.js\"></script>)", html) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", html) == []
    addresses = re.findall(r'(?:href|src|action)="([^"]+)"', html)
    assert [a for a in addresses if "//" in a and not a.startswith("data:")] == []
