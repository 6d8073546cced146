// Bring what `keep` selects into view, once for each `turn`.
export default function ({ data }) {
  if (!data.keep || window.unitscopeTurn === data.turn) return;
  window.unitscopeTurn = data.turn;
  const look = (tries) => {
    const found = document.querySelector(data.keep);
    if (found) found.scrollIntoView({ block: "start", behavior: "smooth" });
    else if (tries) setTimeout(() => look(tries - 1), 100);
  };
  look(20);
}
