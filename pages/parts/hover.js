// A photo that says what is annotated under the pointer; a click shows that thing alone.
export default function ({ parentElement, data }) {
  let figure = parentElement.querySelector(".photo");
  if (!figure.firstChild) {
    figure.appendChild(document.createElement("img"));
    figure.appendChild(part("div", "told"));
  }
  const [photo, told] = figure.children;
  photo.src = data.src;
  photo.alt = data.alt;
  told.hidden = true;
  figure.classList.toggle("still", !data.planes.length);
  const planes = data.planes.map((plane) => {
    const bytes = Uint8Array.from(atob(plane), (letter) => letter.charCodeAt(0));
    return new Uint16Array(bytes.buffer);
  });
  const under = (event) => {
    const box = photo.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * data.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * data.height);
    if (x < 0 || y < 0 || x >= data.width || y >= data.height) return [];
    return planes.map((plane) => plane[y * data.width + x]).filter((id) => id && data.names[id]);
  };
  photo.onmousemove = (event) => {
    const found = under(event);
    told.hidden = !found.length;
    told.textContent = found.map((id) => data.names[id][0]).join(", ");
    const box = photo.getBoundingClientRect();
    const left = event.clientX - box.left, top = event.clientY - box.top;
    const turn = left > box.width / 2;
    told.style.left = turn ? "" : `${left + 14}px`;
    told.style.right = turn ? `${box.width - left + 14}px` : "";
    told.style.top = `${Math.max(0, top - 14)}px`;
  };
  photo.onmouseleave = () => { told.hidden = true; };
  photo.onclick = (event) => {
    const found = under(event);
    if (found.length) go(data.href + encodeURIComponent(data.names[found[0]][1]), "h1");
  };
}
