// A plain click changes the address as Back and Forward do, so that the session goes on and the
// history gets one entry; a middle click opens a new tab. `keep`: a selector of what should be in
// sight afterwards; without one the page is shown from its top.
function go(href, keep) {
  history.pushState({}, "", href);
  window.dispatchEvent(new PopStateEvent("popstate"));
  if (keep) document.querySelector(keep)?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  else document.querySelector(".stMain")?.scrollTo(0, 0);
}

function anchor(href, keep) {
  const link = document.createElement("a");
  link.href = href;
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(link.href, keep);
  });
  return link;
}

function part(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}
