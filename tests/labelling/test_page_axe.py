"""The naming page as axe-core sees it: no violation of its rules, in any view, in either scheme."""

from typing import Any

import pytest
from playwright.sync_api import expect

from axe import violations

pytestmark = pytest.mark.slow

SIZES = {"desktop": {"width": 1440, "height": 900}, "laptop": {"width": 1366, "height": 620}}
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "laptop", "phone"])
def test_no_rule_is_broken(open_tab: Any, size: str, scheme: str) -> None:
    options = PHONE if size == "phone" else {"viewport": SIZES[size]}
    tab = open_tab(color_scheme=scheme, bypass_csp=True, **options)
    assert violations(tab.page) == []
    tab.page.locator("#understood").click()
    tab.page.locator("#name").fill("lapwing")
    tab.page.locator("#accept").click()
    expect(tab.page.locator("#legend")).to_contain_text("lapwing")
    expect(tab.page.locator("#answer")).not_to_have_attribute("aria-busy", "true")  # it is paler while it is sent
    tab.page.locator("#name").fill("lap")
    assert violations(tab.page) == []
    for keys, dialog in (("Alt+u", "#history"), ("Alt+h", "#helping")):
        tab.key(keys)
        expect(tab.page.locator(dialog)).to_be_visible()
        assert violations(tab.page) == []
        tab.key("Escape")
    tab.page.goto(tab.own + "#names/lapwing")
    expect(tab.page.locator(".cell img").first).to_be_visible()
    assert violations(tab.page) == []
    tab.page.locator(".cell").first.dblclick()
    expect(tab.page.locator("#enlarged-picture")).to_be_visible()
    assert violations(tab.page) == []
