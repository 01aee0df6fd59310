"use strict";

/* Figures: the libraries above draw what Vega-Lite describes; colours are those of the style sheet. */
const narrow = innerWidth < 640;

const LOOK = {
  background: null,
  font: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
  view: {stroke: null},
  axis: {
    domain: false, ticks: false, gridColor: "var(--line)", labelColor: "var(--ink)", titleColor: "var(--quiet)",
    titleFontWeight: "normal", labelFontSize: 12, titleFontSize: 12, labelPadding: 6, titlePadding: 10, labelOverlap: true,
    labelLimit: narrow ? 100 : 190,
  },
  legend: {
    labelColor: "var(--ink)", titleColor: "var(--quiet)", titleFontWeight: "normal", labelFontSize: 12, titleFontSize: 12,
    symbolStrokeWidth: 2, columnPadding: 14,
  },
};

function rows(columns) {
  const names = Object.keys(columns);
  return columns[names[0]].map((_, row) => Object.fromEntries(names.map(name => [name, columns[name][row]])));
}

/* How many columns a legend gets: known before it is drawn, or else its rows grow over the title above. */
function look(plot, spec) {
  const colour = [spec, ...(spec.layer ?? [])].map(part => part.encoding?.color).find(one => one?.scale?.domain);
  const names = spec.params?.find(one => one.name === "classes")?.value ?? colour?.scale.domain ?? [];
  const widest = 30 + 7 * Math.max(0, ...names.map(name => String(name).length));
  const room = narrow ? plot.clientWidth - 130 : plot.clientWidth;  // beside the names on the axis
  const columns = Math.max(1, Math.min(7, Math.floor(room / widest)));
  return {...LOOK, legend: {...LOOK.legend, columns, labelLimit: narrow ? room - 20 : 0}};
}

async function draw(plot) {
  const {spec, columns, renderer, description} = JSON.parse(document.getElementById("data-" + plot.dataset.chart).textContent);
  const whole = {...spec, description, width: "container", data: {values: rows(columns)}, autosize: {type: "fit-x", contains: "padding"}};
  const drawn = await vegaEmbed(plot, whole, {actions: false, renderer, config: look(plot, spec), tooltip: {disableDefaultStyle: true}});
  plot.view = drawn.view;
  if (plot.dataset.chart === "map") choosable(drawn.view, plot);
  if (renderer === "canvas") { plot.setAttribute("role", "img"); plot.setAttribute("aria-label", description); }
}

/* The map's legend shows one class alone. */
function choosable(view, plot) {
  const legend = plot.closest(".card").querySelector(".legend");
  legend.hidden = false;
  legend.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (!button) return;
    const chosen = button.getAttribute("aria-pressed") !== "true";
    for (const other of legend.children) other.setAttribute("aria-pressed", String(chosen && other === button));
    view.signal("chosen", chosen ? Number(button.dataset.code) : -1).runAsync();
  });
}

/* Tables: the button in a heading sorts by its column; numbers from the largest, words from A. */
function value(row, column) {
  const cell = row.cells[column];
  if (!cell) return "";
  return cell.dataset.value === undefined ? cell.textContent.trim() : cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function compared(a, b) {
  if (a === null || b === null) return a === b ? 0 : a === null ? -1 : 1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
}

function sort(table, heading) {
  const column = heading.cellIndex, body = table.tBodies[0], all = [...body.rows];
  const isNumber = all.some(row => typeof value(row, column) === "number");
  const before = heading.getAttribute("aria-sort");
  const order = before === "none" ? (isNumber ? "descending" : "ascending") : before === "ascending" ? "descending" : "ascending";
  for (const other of heading.parentNode.cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  all.sort((a, b) => sign * compared(value(a, column), value(b, column)));
  body.append(...all);
}

for (const table of document.querySelectorAll("table.sortable"))
  for (const heading of table.tHead.rows[0].cells)
    heading.firstElementChild.addEventListener("click", () => sort(table, heading));

Promise.all([...document.querySelectorAll("[data-chart]")].map(draw)).then(() => document.body.dataset.drawn = "true");
