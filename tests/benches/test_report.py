"""What the measurements say of their numbers."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.benches.chart import Line, draw
from tools.benches.report import Table, median, number, percentile, spread
from tools.benches.texts import facts, question, system_prompt

SVG = "{http://www.w3.org/2000/svg}"


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    st.floats(min_value=0.001, max_value=1),
)
def test_a_percentile_is_a_measured_value_that_its_share_does_not_pass(values, share):
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_a_spread_has_its_ends():
    assert spread([3, 1, 2], (0.5, 0.99)) == [1, 2, 3, 3]
    assert median([4, 1, 3, 2]) == 2


@pytest.mark.parametrize(
    ("value", "text"), [(0.0712, "0.07"), (12.34, "12.3"), (1559.2, "1,559"), (-10.26, "-10.3")]
)
def test_numbers_have_the_digits_that_mean_something(value, text):
    assert number(value) == text


def test_a_table_is_markdown():
    table = Table("Times", ("", "ms"), [("cold", "1,000"), ("held", "7")])
    assert table.markdown().splitlines() == [
        "Times",
        "",
        "|      |    ms |",
        "| ---- | ----: |",
        "| cold | 1,000 |",
        "| held |     7 |",
    ]


def test_a_drawing_names_its_lines_and_stays_inside():
    one = Line("one & only", (100, 1500), (5, 7), (4, 6), (6, 9))
    other = Line("other", (100, 1500), (5, 7.1), (4, 6), (6, 1000))
    root = ET.fromstring(draw("Title", "tokens", "ms", [one, other]))
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    texts = {text.text: text for text in root.iter(f"{SVG}text")}
    assert {"Title", "tokens", "one & only", "other", "1 ms", "1,000 ms", "1,500"} <= set(texts)
    places = [abs(float(texts[name].attrib["y"])) for name in ("one & only", "other")]
    assert abs(places[0] - places[1]) >= 16, "the names do not cover each other"
    for circle in root.iter(f"{SVG}circle"):
        assert 0 < float(circle.attrib["cx"]) < width
        assert 0 < float(circle.attrib["cy"]) < height


def test_what_is_said_differs_and_has_the_wanted_length():
    assert len({question(n) for n in range(500)}) == 500
    assert len(set(facts(200))) == 200
    assert len(system_prompt(100, "One.", lambda text: len(text.split())).split()) == 100
