"""Pages of runs, in a real browser: they stand alone, can be read everywhere, and take names for nothing but names."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fuzz.seeds import small_card, small_network
from helpers import clustered_adata, write_h5ad
from playwright.sync_api import Browser, Page, sync_playwright
from typer.testing import CliRunner

import scnym
import scnym.runs.reports.page
from cli.main import app
from scnym import (
    MarkerSettings,
    NetworkSettings,
    RunSettings,
    SplitSettings,
    TrainSettings,
    find_markers,
    predict,
    predict_samples,
    report,
    train,
)
from scnym.base.errors import FormatError, MissingInputError, OutputExistsError, SettingsError
from scnym.base.text import displayed
from scnym.model.snapshot import Snapshot
from scnym.results.metrics import CALIBRATION_BINS, expected_calibration_error, histogram, reliability
from scnym.runs.output_tree import FIGURES_FILE, MAP_FILE, METRICS_FILE, write_json, write_table
from scnym.runs.reports.class_charts import MAX_BARS
from scnym.runs.reports.page import as_markdown
from scnym.runs.reports.training import model_card

NASTY = ("</script><img src=x onerror=alert(1)>", "<script>alert(1)</script>", "$x$ \x1b[2J | `a` _b_")
"""Names of classes; genes and cells get them too."""
KINDS = ("tissue_independent", "predictions", "tissue_ind_class_optimums")
MAX_PAGE_BYTES = 5_000_000
PHONE, DESK = 390, 1100


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=program, args=options)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training, a prediction and markers of cells whose names do harm where they are taken for something else."""
    folder = tmp_path_factory.mktemp("report")
    adata = clustered_adata(240)
    new_name = dict(zip(("type 0", "type 1", "type 2"), NASTY, strict=True))
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str).map(new_name)
    adata.obs_names = [f"{NASTY[0]} {k}" for k in range(adata.n_obs)]
    adata.var_names = [f"{NASTY[k % 2]} {k}" for k in range(adata.n_vars)]
    cells, target = write_h5ad(folder / "cells.h5ad", adata), folder / "out"
    settings = RunSettings(
        label_column="cell_type",
        split=SplitSettings(n_folds=2),
        network=NetworkSettings(n_hidden=8),
        training=TrainSettings(n_epochs=3),
        baseline=True,
    )
    model = train(cells, target, settings).model_path
    predict(cells, model, target)
    find_markers(model, target, MarkerSettings(n_steps=20, n_restarts=2), input_counts=cells)
    return target


@pytest.fixture(scope="module")
def many(out: Path) -> Path:
    """The folder of three samples that were labelled, two of them with names that do harm, and of one that was not."""
    folder = out.parent / "many"
    folder.mkdir()
    cells, broken = out.parent / "cells.h5ad", folder / "broken.h5ad"
    broken.write_bytes(b"none")
    copies = [shutil.copy(cells, folder / f"{number}.h5ad") for number in range(3)]
    rows = [*zip(copies, (*NASTY[:2], "plain"), strict=True), (broken, "broken")]
    pd.DataFrame(rows, columns=["path", "sample"]).to_csv(folder / "samples.csv", index=False)
    return predict_samples(folder / "samples.csv", out / "tissue_independent", folder / "out").folder


def opened(browser: Browser, path: Path, width: int = DESK, scheme: Any = "light") -> tuple[Page, list[str]]:
    """Return a page on which all figures are drawn, and whatever it asked for, complained of or wanted to say."""
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.on("request", lambda request: heard.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn]", timeout=60_000)
    return page, heard


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (DESK, "dark"), (PHONE, "light")])
def test_a_page_loads_without_errors_or_requests_and_fits(
    browser: Browser, out: Path, kind: str, width: int, scheme: str
):
    page, heard = opened(browser, out / kind / "report.html", width, scheme)
    assert not heard
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    plots = page.locator("[data-chart]")
    assert plots.count() == page.locator(".plot svg, .plot canvas").count() > 0
    for plot in plots.all():
        assert plot.locator("svg[aria-label], canvas").count() == 1 or plot.get_attribute("aria-label")


def require_legends_below_titles(page: Page) -> None:
    legends = page.locator(".plot svg .role-legend")
    assert legends.count()
    for legend in legends.all():
        title = legend.locator("xpath=ancestor::figure//h3").bounding_box()
        box, plot = legend.bounding_box(), legend.locator("xpath=ancestor::figure").bounding_box()
        assert title
        assert box
        assert plot
        assert box["y"] >= title["y"] + title["height"]
        assert box["x"] + box["width"] <= plot["x"] + plot["width"] + 1


def test_legends_leave_titles_free_on_a_phone_too(browser: Browser, out: Path, tmp_path: Path):
    page, _ = opened(browser, out / "tissue_independent" / "report.html", PHONE)
    require_legends_below_titles(page)
    run = made_up_run(tmp_path, n_classes=3).parent
    for number in range(6):
        (run / f"fold0{number}").mkdir()
        table = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "selection_loss": [2.0, 1.0]})
        write_table(run / f"fold0{number}" / f"fold0{number}_log.csv", table.assign(cells_per_second=9))
    (path,) = report(run)
    page, _ = opened(browser, path, PHONE)
    require_legends_below_titles(page)


@pytest.mark.parametrize(("width", "scheme"), [(DESK, "dark"), (PHONE, "light")])
def test_the_page_over_samples_leads_to_theirs_and_says_why_one_is_missing(
    browser: Browser, many: Path, width: int, scheme: str
):
    page, heard = opened(browser, many / "report.html", width, scheme)
    assert not heard
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    headings = page.locator("#samples tbody th").all_inner_texts()
    assert headings == [*NASTY[:2], "plain", "broken"]
    assert "failed: " in page.locator("#samples tbody tr").last.inner_text()
    assert page.locator("p.lead").inner_text().startswith("4 samples, each labelled by itself. 1 of them")
    assert page.locator("#plot-shares svg").count() == 1
    require_legends_below_titles(page)
    for number in range(3):
        page.locator("#samples tbody a").nth(number).click()
        page.wait_for_selector("body[data-drawn]")
        assert page.locator("h1").inner_text() == "Cell type prediction"
        page.go_back()


@pytest.mark.parametrize("kind", KINDS)
def test_names_from_files_are_text_on_the_page(browser: Browser, out: Path, kind: str):
    page, heard = opened(browser, out / kind / "report.html")
    headings = page.locator("tbody th").all_inner_texts()
    assert set(NASTY[:2]) <= set(headings)
    assert r"$x$ \x1b[2J | `a` _b_" in headings
    assert page.locator("img").count() == 0
    assert "\x1b" not in (out / kind / "report.html").read_text()
    drawn = page.locator(".plot svg text").all_text_contents()
    assert any(name[:20] in text for text in drawn for name in NASTY)
    assert not heard


def test_tables_sort_by_keyboard_and_numbers_as_numbers(browser: Browser, tmp_path: Path):
    page, _ = opened(browser, made_up_run(tmp_path, n_classes=12))
    heading = page.locator("#classes thead th").nth(1)
    cells = page.locator("#classes tbody td:nth-child(2)")
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    found = [int(text.replace(",", "")) for text in cells.all_inner_texts()]
    assert found == sorted(found, reverse=True)
    assert found[0] > 999 > found[-1]
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [int(text.replace(",", "")) for text in cells.all_inner_texts()] == found[::-1]
    page.locator("#classes thead th button").first.click()
    assert heading.get_attribute("aria-sort") == "none"
    names = page.locator("#classes tbody th").all_inner_texts()
    assert names == [f"class {k}" for k in range(12)]  # 10 comes after 9


def test_hovering_says_what_is_under_the_pointer(browser: Browser, out: Path):
    page, _ = opened(browser, out / "tissue_independent" / "report.html")
    page.locator("#plot-confusion svg .mark-rect path").first.hover()
    told = page.locator("#vg-tooltip-element")
    assert "true class" in told.inner_text()
    assert any(displayed(name)[:20] in told.inner_text() for name in NASTY)
    page.locator("#map").scroll_into_view_if_needed()
    cell = pd.read_csv(out / "tissue_independent" / MAP_FILE).iloc[0]
    x, y = page.evaluate(
        """([x, y]) => {
          const plot = document.getElementById("plot-map"), box = plot.querySelector("canvas").getBoundingClientRect();
          const view = plot.view, [left, top] = view.origin(), around = view.padding();
          return [box.x + around.left + left + view.scale("x")(x), box.y + around.top + top + view.scale("y")(y)];
        }""",
        [round(cell["x"], 2), round(cell["y"], 2)],
    )
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "predicted when held out" in told.inner_text()
    assert NASTY[0] in told.inner_text()  # which the ids of the cells begin with


def test_a_class_chosen_in_the_legend_stands_alone(browser: Browser, out: Path):
    page, _ = opened(browser, out / "tissue_independent" / "report.html")
    button = page.locator("#map .legend button").nth(1)
    chosen = "document.getElementById('plot-map').view.signal('chosen')"
    button.click()
    assert (button.get_attribute("aria-pressed"), page.evaluate(chosen)) == ("true", 1)
    button.click()
    assert (button.get_attribute("aria-pressed"), page.evaluate(chosen)) == ("false", -1)


def test_figures_take_the_colours_of_the_scheme_and_print_on_white(browser: Browser, out: Path):
    colours = """() => [getComputedStyle(document.body).backgroundColor,
                        getComputedStyle(document.querySelector("#plot-confusion .role-axis-label text")).fill]"""
    seen = {}
    for scheme in ("light", "dark"):
        page, _ = opened(browser, out / "tissue_independent" / "report.html", scheme=scheme)
        seen[scheme] = page.evaluate(colours)
    page.emulate_media(media="print")
    printed = page.evaluate(colours)
    (light_paper, light_ink), (dark_paper, dark_ink) = seen["light"], seen["dark"]
    assert brightness(light_paper) > 250
    assert brightness(light_ink) < 90
    assert brightness(dark_paper) < 40
    assert brightness(dark_ink) > 200
    assert brightness(printed[0]) > 250
    assert brightness(printed[1]) < 10


def brightness(colour: str) -> float:
    """Mean of red, green and blue, from 0 to 255."""
    return float(np.mean([int(part) for part in re.findall(r"\d+", colour)[:3]]))


def made_up_run(folder: Path, n_classes: int, n_cells: int = 200) -> Path:
    """Write the files of a training run that never was, and its page."""
    random, classes = np.random.default_rng(0), [f"class {k}" for k in range(n_classes)]
    confusion = random.integers(0, 9, (n_classes, n_classes)) + np.diag(random.integers(50, 4000, n_classes))
    figures = {"accuracy": 0.9, "balanced_accuracy": 0.8, "macro_f1": 0.7, "mean_loss": 0.5, "calibration_error": 0.1}
    spread: dict[str, Any] = {name: {"mean": value, "sd": 0.01} for name, value in figures.items()}
    row = {"precision": 0.9, "recall": 0.8, "f1": 0.85}
    per_class = {name: {**row, "support": int(confusion[k].sum())} for k, name in enumerate(classes)}
    held_out = {**figures, "calibration_error_uncalibrated": 0.2, "per_class": per_class}
    spread["per_class"] = {name: {"f1": {"mean": 0.85, "sd": None}} for name in classes}
    write_json(
        folder / METRICS_FILE,
        {
            **{"family": "independent", "tissue": None, "classes": classes, "n_cells": int(confusion.sum())},
            **{"n_genes": 20_000, "held_out": {**held_out, "confusion": confusion.tolist()}, "tissues": None},
            "folds": [{"fold": f"fold0{k}", "n_cells": 9, **figures} for k in range(2)],
            **{"spread": spread, "baseline": None, "final_model_on_selection_cells": figures},
        },
    )
    confidence_C = random.random(1000)
    bins = reliability(confidence_C, random.random(1000) < confidence_C, CALIBRATION_BINS)
    write_json(
        folder / FIGURES_FILE,
        {"reliability": {"confidence": bins}, "confidence": {"right": histogram(confidence_C), "wrong": [0] * 20}},
    )
    types = random.integers(0, n_classes, n_cells)
    cells = {"cell_id": [f"AAACCCAAGTAC{k:08d}-1" for k in range(n_cells)]}
    cells |= {"x": random.normal(size=n_cells), "y": types + random.normal(size=n_cells)}
    cells |= {"cell_type": [classes[k] for k in types], "predicted": [classes[k] for k in types]}
    write_table(folder / MAP_FILE, pd.DataFrame({**cells, "confidence": random.random(n_cells)}))
    (page,) = report(folder)
    return page


def test_a_page_of_a_hundred_classes_is_small_and_fits_a_phone(browser: Browser, tmp_path: Path):
    path = made_up_run(tmp_path, n_classes=100, n_cells=20_000)
    assert path.stat().st_size < MAX_PAGE_BYTES
    page, heard = opened(browser, path, PHONE)
    assert not heard
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#classes tbody tr").count() == 100
    bars = page.locator("#plot-composition svg .mark-rect path")
    assert bars.count() == MAX_BARS  # and none of all others, beside which these would be too short to be compared
    assert "40 largest; 60 others have " in page.locator("#classes figcaption").inner_text()


def test_pages_written_anew_are_the_same(out: Path):
    before = {kind: (out / kind / "report.html").read_bytes() for kind in KINDS}
    assert sorted(page.parent.name for page in report(out)) == sorted(KINDS)
    assert {kind: (out / kind / "report.html").read_bytes() for kind in KINDS} == before


def test_what_is_no_run_is_refused_and_a_damaged_one_keeps_its_page(out: Path, tmp_path: Path):
    with pytest.raises(MissingInputError, match="no finished run"):
        report(tmp_path)
    with pytest.raises(MissingInputError, match="no such folder"):
        report(tmp_path / "nowhere")
    run = shutil.copytree(out / "tissue_independent", tmp_path / "run")
    before = (run / "report.html").read_bytes()
    metrics = json.loads((run / METRICS_FILE).read_text())
    del metrics["held_out"]["accuracy"]
    write_json(run / METRICS_FILE, metrics)
    with pytest.raises(FormatError, match="not as it wrote them"):
        report(run)
    assert (run / "report.html").read_bytes() == before
    assert not list(run.glob(".*"))


def test_a_run_of_an_older_version_gets_the_page_that_its_files_allow(out: Path, tmp_path: Path):
    run = shutil.copytree(out / "tissue_independent", tmp_path / "run")
    for name in (FIGURES_FILE, MAP_FILE, "cost.json"):
        (run / name).unlink()
    (page,) = report(run)
    text = page.read_text()
    assert 'id="plot-confusion"' in text
    assert not [name for name in ("plot-map", "plot-reliability", 'id="cost"') if name in text]


def test_where_nothing_can_be_drawn_the_tables_are_there_and_it_is_said(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scnym.runs.reports.page, "_PROGRAM", "import sys; sys.exit(1)")
    monkeypatch.setattr(scnym.runs.reports.page, "javascript", scnym.runs.reports.page.javascript.__wrapped__)
    (page,) = report(shutil.copytree(out / "tissue_independent", tmp_path / "run"))
    text = page.read_text()
    assert "The figures are missing" in text
    assert "data-chart=" not in text
    assert text.count("<tbody>") >= 3
    assert len(text) < 100_000


def test_bins_of_confidence_hold_every_cell_and_explain_the_calibration_error():
    random = np.random.default_rng(0)
    confidence_C = np.append(random.random(500), [0.0, 1.0])
    correct_C = random.random(502) < 0.6
    bins = reliability(confidence_C, correct_C, CALIBRATION_BINS)
    assert sum(histogram(confidence_C)) == sum(one["n_cells"] for one in bins) == 502
    gap = sum(one["n_cells"] * abs(one["confidence"] - one["accuracy"]) for one in bins) / 502
    assert gap == pytest.approx(expected_calibration_error(confidence_C, correct_C))
    parts = [histogram(confidence_C, is_in_C) for is_in_C in (correct_C, ~correct_C)]
    assert np.sum(parts, axis=0).tolist() == histogram(confidence_C)


def test_a_training_run_leaves_a_card_of_its_model(out: Path):
    folder = out / "tissue_independent" / "all_data"
    card, metrics = (folder / "model_card.md").read_text(), json.loads((folder.parent / METRICS_FILE).read_text())
    assert card == model_card(folder / "model.safetensors")
    assert f"| accuracy | {metrics['held_out']['accuracy']:.3f} | {metrics['spread']['accuracy']['sd']:.3f} |" in card
    for name in NASTY:
        assert f"| {as_markdown(name)} | " in card
        assert name not in card
    snapshot = Snapshot.load(folder / "model.safetensors")
    assert snapshot.card.sources[0].sha256 in card
    assert sum(snapshot.card.cells_per_class) == snapshot.card.sources[0].n_cells == 240


def test_a_card_is_written_where_it_is_asked_for_and_replaces_nothing(out: Path, tmp_path: Path):
    model, target = out / "tissue_independent" / "all_data" / "model.safetensors", tmp_path / "card.md"
    done = CliRunner().invoke(app, ["inspect", str(model), "--card", str(target)])
    assert done.exit_code == 0, done.output
    assert "learnt from cells.h5ad: 240 cells" in done.output
    assert target.read_text() == (model.parent / "model_card.md").read_text()
    with pytest.raises(OutputExistsError, match="exists already"):
        scnym.inspect(model, card=target)
    (tmp_path / "again").mkdir()
    scnym.inspect(out / "tissue_independent", card=tmp_path / "again" / "card.md")
    assert (tmp_path / "again" / "card.md").read_text() == target.read_text()
    with pytest.raises(MissingInputError, match=r"give that of one run: .*tissue_independent") as fault:
        scnym.inspect(out, card=tmp_path / "other.md")
    assert fault.value.mend == {str(out): out / "tissue_independent"}
    with pytest.raises(SettingsError, match="only models have a card"):
        scnym.inspect(out.parent / "cells.h5ad", card=tmp_path / "other.md")


def test_the_card_of_a_model_that_knows_no_sources_says_so(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(Snapshot(small_card(metrics={}), small_network()).to_bytes())
    assert model_card(path).count("Not known.") == 2


def test_the_command_says_where_the_pages_are(out: Path):
    done = CliRunner().invoke(app, ["report", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pages"] == [str(out / kind / "report.html") for kind in sorted(KINDS)]
