// The pictures of an explorer: a stage that compares two panels (swipe, blink), the values of the pixel that was
// clicked, and the grid of all panels. Everything but the pictures themselves happens here, without the kernel.

const BLINK_MS = 500;

function element(tag, name, parent, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function decode(data) {
  const png = data.getUint8(0) === 0x89;
  return createImageBitmap(new Blob([data], { type: png ? "image/png" : "image/jpeg" }));
}

// Draw a picture, and a cross over the chosen pixel (mark: [x, y] as shares of width and height, or empty).
function draw(canvas, bitmap, mark) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  if (mark.length !== 2) return;
  const x = mark[0] * bitmap.width, y = mark[1] * bitmap.height, arm = bitmap.height / 14, gap = arm / 3;
  for (const [colour, width] of [["#000", 3], ["#fff", 1]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * gap, y + dy * gap);
      context.lineTo(x + dx * arm, y + dy * arm);
    }
    context.stroke();
  }
}

function render({ model, el }) {
  const root = element("div", "sspcore-explorer", el);
  const top = element("div", "top", root);
  const compare = element("div", "compare", top);
  const bar = element("div", "bar", compare);
  const stage = element("div", "stage", compare);
  const under = element("canvas", "under", stage);
  const over = element("canvas", "over", stage);
  const line = element("div", "line", stage);
  const details = element("div", "details", top);
  const grid = element("div", "grid", root);

  const pick = [element("select", "left", bar), element("select", "right", bar)];
  const mode = element("select", "mode", bar);
  for (const name of ["swipe", "blink"]) element("option", "", mode, name);
  let bitmaps = [], cells = [], split = 0.5, blinked = false, clicks = 0;

  function click(canvas, panel) {
    canvas.addEventListener("click", (event) => {
      model.set("clicked", {
        panel: panel(), x: event.offsetX / canvas.clientWidth, y: event.offsetY / canvas.clientHeight, number: ++clicks,
      });
      model.save_changes();
    });
  }
  click(under, () => Number(pick[1].value));
  click(over, () => Number(pick[0].value));

  function layout() {
    const panels = model.get("panels");
    grid.replaceChildren();
    grid.style.setProperty("--columns", model.get("columns"));
    cells = panels.map((panel, index) => {
      const figure = element("figure", panel.wide ? "wide" : "", grid);
      const caption = element("figcaption", "", figure);
      const cell = {
        title: element("b", "", caption), note: element("span", "", caption), scale: element("span", "scale", caption),
        canvas: element("canvas", "", figure),
      };
      click(cell.canvas, () => index);
      return cell;
    });
    pick.forEach((select, side) => {
      const chosen = select.value || String(model.get("pair")[side]);
      select.replaceChildren();
      panels.forEach((panel, index) => {
        if (!panel.wide) element("option", "", select, panel.title).value = index;
      });
      select.value = chosen;
    });
  }

  function caption(cell, panel) {
    cell.title.textContent = panel.title;
    cell.note.textContent = panel.note;
    cell.scale.replaceChildren();
    if (panel.gradient) {
      element("i", "", cell.scale, panel.low);
      element("i", "ramp", cell.scale).style.background = panel.gradient;
      element("i", "", cell.scale, `${panel.high} ${panel.meaning}`);
    }
  }

  function compareNow() {
    if (!bitmaps.length) return;
    const swipe = mode.value === "swipe", sides = pick.map((select) => bitmaps[Number(select.value)]);
    draw(under, sides[1], model.get("mark"));
    draw(over, sides[0], model.get("mark"));
    over.style.clipPath = swipe ? `inset(0 ${100 * (1 - split)}% 0 0)` : blinked ? "inset(0 100% 0 0)" : "none";
    line.style.display = swipe ? "block" : "none";
    line.style.left = `${100 * split}%`;
    pick.forEach((select, side) => { select.style.opacity = swipe || (side === 1) === blinked ? 1 : 0.4; });
  }

  async function update() {
    const version = model.get("version"), panels = model.get("panels");
    const decoded = await Promise.all(model.get("images").map(decode));
    if (version !== model.get("version")) return; // a newer picture is on its way
    bitmaps = decoded;
    if (cells.length !== panels.length) layout();
    panels.forEach((panel, index) => {
      caption(cells[index], panel);
      draw(cells[index].canvas, bitmaps[index], panel.wide ? [] : model.get("mark"));
    });
    pick.forEach((select) => [...select.options].forEach((option) => {
      option.textContent = panels[Number(option.value)].title;
    }));
    details.innerHTML = model.get("details");
    compareNow();
    root.dataset.version = version; // for whoever waits for the new picture
  }

  stage.addEventListener("pointermove", (event) => {
    const box = stage.getBoundingClientRect();
    split = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    if (mode.value === "swipe") compareNow();
  });
  for (const select of [...pick, mode]) select.addEventListener("change", compareNow);
  const timer = setInterval(() => {
    if (mode.value !== "blink") return;
    blinked = !blinked;
    compareNow();
  }, BLINK_MS);
  model.on("change:version", update);
  update();
  return () => {
    clearInterval(timer);
    model.off("change:version", update);
  };
}

export default { render };
