// What the theme leaves to do: tips on the marks, boxes that scroll by keyboard, links into folded solutions.

// A mark says on hover and on focus how its equation was checked. The tip hangs on the body and turns
// where there is room, so that neither a theorem's box nor the edge of a phone cuts it.
function addTips() {
  if (!window.tippy) return;
  if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) tippy.setDefaultProps({ duration: 0 });
  tippy("a.ntk-mark", {
    content: (mark) => mark.dataset.tip,
    maxWidth: 320,
    // The mark's own label reads the same words aloud.
    aria: { content: null },
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tippy.hideAll();
  });
}

// A box that scrolls sideways takes the focus, so that the arrow keys can move it, and shows that there
// is more: a formula cut between two factors would read as another formula.
function watchScrolling() {
  const update = (box) => {
    const hidden = box.scrollWidth - box.clientWidth;
    if (hidden > 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    box.classList.toggle("ntk-more", hidden - box.scrollLeft > 1);
  };
  const boxes = [...document.querySelectorAll("article *:not(mjx-container *)")].filter((box) =>
    /auto|scroll/.test(getComputedStyle(box).overflowX));
  // The box may keep its size while a font that arrives widens what is in it.
  const observer = new ResizeObserver((entries) =>
    entries.map(({ target }) => (boxes.includes(target) ? target : target.closest("mjx-container")))
      .filter(Boolean) // MathJax may have put another formula in its place
      .forEach(update));
  for (const box of boxes) {
    observer.observe(box);
    if (box.matches("mjx-container")) observer.observe(box.firstElementChild);
    box.addEventListener("scroll", () => update(box), { passive: true });
  }
  // So does the other theme's bold.
  document.fonts.addEventListener("loadingdone", () => boxes.forEach(update));
  new MutationObserver(() => boxes.forEach(update)).observe(document.documentElement, {
    attributes: true, attributeFilter: ["data-theme"],
  });
  // What is folded is not observed while the window changes.
  window.addEventListener("resize", () => boxes.forEach(update));
}

// A link into a folded solution unfolds it first.
function unfoldTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target && target.closest(".toggle-hidden");
  if (!folded) return;
  folded.querySelector(".toggle-button").click();
  target.scrollIntoView();
}

// Sphinx marks each reference with a role that ARIA has retired, in a list that asks for items.
function repairBibliography() {
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.setAttribute("role", "listitem");
}

// The theme's arrows that unfold a part of the contents have no name.
function nameArrows() {
  for (const arrow of document.querySelectorAll("nav details > summary")) {
    const page = arrow.closest("li").querySelector("a");
    arrow.setAttribute("aria-label", `Pages under ${page.textContent.trim()}`);
  }
}

document.addEventListener("DOMContentLoaded", addTips);
document.addEventListener("DOMContentLoaded", nameArrows);
document.addEventListener("DOMContentLoaded", repairBibliography);
window.addEventListener("hashchange", unfoldTarget);
window.addEventListener("load", () => {
  unfoldTarget();
  // Formulas get their width once MathJax has set them.
  const typeset = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
  Promise.resolve(typeset).then(watchScrolling);
});
