"""The report in a real browser, in both lights."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from ops.cli import report
from ops.fakes.browser import TARGET, found
from tests.ops.report.run_lines import SYNC, TICKS, fill

pytestmark = pytest.mark.skipif(found() is None, reason=TARGET)


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_pictures_follow_the_scheme_of_the_page(chromium, tmp_path, scheme, dark):
    page = chromium.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    errors = []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(report.write(fill(tmp_path / "out", fused=TICKS, sync=SYNC)).as_uri())
    pictures = page.locator("figure img")
    assert pictures.count() == 5
    for picture in pictures.all():
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
        light = imread(io.BytesIO(picture.screenshot()))[..., :3].mean(axis=2)
        paper, extremes = np.median(light), (light.min(), light.max())
        assert (paper < 0.2) == dark
        assert (extremes[1] > 0.8) if dark else (extremes[0] < 0.3), "ink stands out from paper"
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 1280
    page.close()
    assert errors == []
