// Draws tiles as links.
export default function ({ parentElement, data }) {
  let grid = parentElement.querySelector(".grid");
  if (!grid) {
    grid = part("div", "grid");
    grid.setAttribute("role", "list");
    parentElement.appendChild(grid);
  }
  grid.style.setProperty("--tile", data.tile + "px");
  grid.replaceChildren(...data.items.map((item) => {
    const link = anchor(item.href);
    link.className = item.mark || "";
    const photo = document.createElement("img");
    photo.src = item.src;
    photo.alt = item.alt;
    link.appendChild(photo);
    for (const name of ["title", "sub"]) {
      if (item[name]) link.appendChild(part("div", name, item[name]));
    }
    const tile = part("div");
    tile.setAttribute("role", "listitem");
    tile.appendChild(link);
    return tile;
  }));
}
