// Boxes that scroll sideways can be reached and scrolled with the keyboard.
function markScrollable() {
  for (const box of document.querySelectorAll("div.math, table.ntk-table, div.cell_output pre, div.highlight pre")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
  }
}
window.addEventListener("load", () => {
  markScrollable();
  // Formulas get their width once MathJax has set them.
  const typeset = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
  if (typeset) typeset.then(markScrollable);
});
