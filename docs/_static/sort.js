// Tables of results and of notebooks sort by a click, or Enter, on the head of a column: down, then up. A line that holds one
// bold cell heads a section; lines stay in theirs. Numbers sort by their value ("55.1 ± 0.4" by 55.1), a dash comes last.
const number = text => parseFloat(text.replace("−", "-").replace(/,/g, ""));

function compare(a, b) {
  const [x, y] = [number(a), number(b)];
  if (isNaN(x) && isNaN(y)) return a.localeCompare(b);
  return isNaN(x) ? 1 : isNaN(y) ? -1 : y - x;
}

function sortTable(table, column, up) {
  const sections = [[]];
  for (const row of table.tBodies[0].rows) {
    const texts = [...row.cells].map(cell => cell.textContent.trim());
    if (texts.length > 1 && row.querySelector("strong") && texts.slice(1).every(text => !text)) sections.push([row]);
    else sections.at(-1).push(row);
  }
  const value = row => row.cells[column].textContent.trim();
  const missing = row => ["–", "", "NaN"].includes(value(row));
  for (const section of sections) {
    const head = section[0]?.querySelector("strong") && sections.indexOf(section) > 0 ? section.splice(0, 1) : [];
    section.sort((a, b) => missing(a) - missing(b) || (up ? -1 : 1) * compare(value(a), value(b)));
    table.tBodies[0].append(...head, ...section);
  }
}

document.querySelectorAll("table.dataframe").forEach(table => {
  const rows = table.tHead ? [...table.tHead.rows] : [];
  if (rows.length !== 1 || !table.tBodies.length) return;
  [...rows[0].cells].forEach((head, column) => {
    const sort = () => {
      const up = head.getAttribute("aria-sort") === "descending";
      for (const other of rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      sortTable(table, column, up);
    };
    head.tabIndex = 0;
    head.title = "Sort by this column";
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
});
