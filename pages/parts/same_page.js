// Streamlit's page links leave the browser's address as it was where they lead to the page that is
// open already, so reload, Back and a copied link would show the old one. Such links are followed
// here instead, as those of the gallery are; and those of a matrix, which would end the session.
export default function () {
  if (window.unitscopeLinks) return;
  window.unitscopeLinks = true;
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[data-testid="stPageLink-NavLink"], .matrix a');
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    if (link.getAttribute("aria-disabled") === "true" || link.hasAttribute("disabled")) return;
    const inside = link.closest(".matrix");
    if (!inside && new URL(link.href).pathname !== location.pathname) return;
    event.preventDefault();
    event.stopPropagation();
    if (link.href !== location.href) go(link.href);
  }, true);
}
