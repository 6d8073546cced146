// Draws columns of short lists: concepts that are links, what is known of each, and the units
// that saw it, which are links too.
function line(item, keep) {
  const row = part("li", item.current ? "current" : "");
  if (item.href) {
    const name = anchor(item.href, keep);
    name.className = "name";
    name.textContent = item.text;
    if (item.hint) name.title = item.hint;
    if (item.current) name.setAttribute("aria-current", "true");
    row.appendChild(name);
  } else {
    row.appendChild(part("span", "name plain", item.text));
  }
  if (item.sub || (item.units || []).length) {
    const more = part("div", "more", item.sub);
    (item.units || []).forEach((unit, k) => {
      if (k || item.sub) more.append(k ? ", " : " ");
      const link = anchor(unit.href);
      link.textContent = unit.text;
      if (unit.hint) link.title = unit.hint;
      more.appendChild(link);
    });
    row.appendChild(more);
  }
  return row;
}

export default function ({ parentElement, data }) {
  let sides = parentElement.querySelector(".sides");
  if (!sides) {
    sides = part("div", "sides");
    parentElement.appendChild(sides);
  }
  sides.replaceChildren(...data.sides.map((side) => {
    const box = part("section", "side " + (side.tone || ""));
    box.setAttribute("aria-label", side.title);
    box.appendChild(part("div", "title", side.title));
    if (side.note) box.appendChild(part("div", "note", side.note));
    for (const group of side.groups) {
      const head = part("div", "group " + (group.mark || ""), group.title);
      head.setAttribute("role", "heading");
      head.setAttribute("aria-level", "3");
      box.appendChild(head);
      const list = document.createElement("ul");
      list.append(...group.items.map((item) => line(item, data.keep)));
      box.appendChild(list);
    }
    return box;
  }));
}
