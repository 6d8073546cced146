// Draws tiles as links. A plain click changes the address as Back and Forward do, so that the
// session goes on and the history gets one entry; a middle click opens a new tab.
function go(href) {
  history.pushState({}, "", href);
  window.dispatchEvent(new PopStateEvent("popstate"));
  document.querySelector(".stMain")?.scrollTo(0, 0);
}

export default function ({ parentElement, data }) {
  let grid = parentElement.querySelector(".grid");
  if (!grid) {
    grid = document.createElement("div");
    grid.className = "grid";
    grid.setAttribute("role", "list");
    parentElement.appendChild(grid);
  }
  grid.style.setProperty("--tile", data.tile + "px");
  grid.replaceChildren(...data.items.map((item) => {
    const link = document.createElement("a");
    link.href = item.href;
    link.className = item.mark || "";
    link.setAttribute("role", "listitem");
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      go(link.href);
    });
    const photo = document.createElement("img");
    photo.src = item.src;
    photo.alt = item.alt;
    link.appendChild(photo);
    for (const part of ["title", "sub"]) {
      if (!item[part]) continue;
      const line = document.createElement("div");
      line.className = part;
      line.textContent = item[part];
      link.appendChild(line);
    }
    return link;
  }));
}
