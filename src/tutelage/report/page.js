// Headings become buttons that sort; without this script the tables are as they were written.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const shown = (row, column) => row.cells[column].dataset.value ?? "";
  const sort = (column, name) => {
    const heading = headings[column];
    const first = name ? "ascending" : "descending";
    const other = name ? "descending" : "ascending";
    const order = heading.getAttribute("aria-sort") === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      if (name) return sign * a.cells[0].textContent.localeCompare(b.cells[0].textContent, "en", {numeric: true});
      const [x, y] = [shown(a, column), shown(b, column)];
      return x === "" || y === "" ? (x === "") - (y === "") : sign * (x - y); // what has no number is last
    };
    const rows = [...body.rows];
    const teachers = rows.filter((row) => row.classList.contains("teacher")); // they stay on top
    body.append(...teachers, ...rows.filter((row) => !teachers.includes(row)).sort(compare));
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", order);
  };
  headings.forEach((heading, column) => {
    const name = column === 0;
    if (!name && ![...body.rows].some((row) => shown(row, column) !== "")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(column, name));
  });
  headings.find((heading) => heading.classList.contains("last"))?.setAttribute("aria-sort", "descending");
}
// A link to how a number was made opens what it leads into.
const reveal = () => {
  for (let at = document.getElementById(location.hash.slice(1)); at; at = at.parentElement) {
    if (at.tagName === "DETAILS") at.open = true;
  }
};
addEventListener("hashchange", reveal);
reveal();
