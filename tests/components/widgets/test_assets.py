"""The scripts that the page fetches."""

import re

from plotly.offline import get_plotlyjs_version

from components.widgets.assets import plotly, widgets


def test_plotly_js_is_of_the_version_that_the_package_writes_figures_for():
    assert re.search(r"plotly.js \(cartesian - minified\) v(\S+)", plotly().text).group(1) == get_plotlyjs_version()


def test_another_text_has_another_address():
    assert plotly().address != widgets().address
