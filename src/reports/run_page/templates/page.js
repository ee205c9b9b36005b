// Draws the charts of the page, and serves its switch of the x axis, its filters and its sortable tables.
const charts = JSON.parse(document.getElementById("charts").textContent);
const embedded = Object.entries(charts).map(([name, spec]) =>
  // `ast` has expressions interpreted, so that the page needs no permission to evaluate code.
  window.vegaEmbed(`#${name} > div`, spec, { actions: false, renderer: "svg", ast: true })
);
Promise.all(embedded).then(() => document.documentElement.setAttribute("data-drawn", ""));

for (const choice of document.querySelectorAll("input[name=x_axis]")) {
  choice.addEventListener("change", () => {
    for (const each of embedded) each.then(({ view }) => view.signal("x_axis", choice.value).runAsync());
  });
}

for (const filter of document.querySelectorAll("select[data-filters]")) {
  const list = document.getElementById(filter.dataset.filters);
  const count = document.getElementById(`${filter.dataset.filters}-count`);
  filter.addEventListener("change", () => {
    let shown = 0;
    for (const item of list.children) {
      item.hidden = filter.value !== "" && item.dataset.class !== filter.value;
      shown += !item.hidden;
    }
    count.textContent = shown;
  });
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.parentElement;
    const column = header.cellIndex;
    const ascending = header.getAttribute("aria-sort") === "descending";
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const compare = (a, b) => {
      const [first, second] = [key(a), key(b)];
      const difference = Number(first) - Number(second);
      return Number.isNaN(difference) ? first.localeCompare(second) : difference;
    };
    const body = header.closest("table").tBodies[0];
    const rows = [...body.rows].sort((a, b) => (ascending ? compare(a, b) : compare(b, a)));
    body.append(...rows);
  });
}
