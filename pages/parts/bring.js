// Bring what `keep` selects into view, once for each `turn`: again and again for a moment, as what
// lies below it is still being drawn, unless the reader scrolls meanwhile.
export default function ({ data }) {
  if (!data.keep || !data.turn || window.unitscopeTurn === data.turn) return;
  window.unitscopeTurn = data.turn;
  let left = 15;
  const stop = () => { left = 0; };
  for (const what of ["wheel", "touchstart", "keydown"]) {
    addEventListener(what, stop, { once: true, passive: true });
  }
  const look = () => {
    if (left-- <= 0) return;
    document.querySelector(data.keep)?.scrollIntoView({ block: "start" });
    setTimeout(look, 120);
  };
  look();
}
