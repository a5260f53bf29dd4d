// Charts with sliders: ntkbook.plotting.explorer writes their data and a still picture, this draws them.
// Where scripts do not run, the still picture stays.
(() => {
  const here = document.currentScript.src;
  const vendored = (name) => new URL(`vendor/uplot/${name}`, here).href;

  // The library is fetched once a page has a chart.
  function library() {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: vendored("uPlot.min.css") });
    const script = Object.assign(document.createElement("script"), { src: vendored("uPlot.iife.min.js") });
    const both = [style, script].map((tag) => new Promise((done, failed) => {
      tag.addEventListener("load", done);
      tag.addEventListener("error", failed);
      document.head.append(tag);
    }));
    return Promise.all(both);
  }

  const superscript = (n) => [...String(n)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");

  // 10⁻⁵ instead of 0.00001.
  function tick(value, logarithmic) {
    const power = Math.round(Math.log10(Math.abs(value)));
    if (logarithmic && Math.abs(power) > 2) return `10${superscript(power)}`;
    if (value !== 0 && Math.abs(power) > 3) {
      const [digits, exponent] = value.toExponential(1).split("e");
      return `${digits.replace(".0", "").replace("-", "−")}·10${superscript(Number(exponent))}`;
    }
    return String(Number(value.toPrecision(4))).replace("-", "−");
  }

  // The powers of ten on a logarithmic axis, eight at the most; two others where there is but one.
  function powers(low, high) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const step = Math.max(1, Math.ceil((last - first) / 8));
    const found = [];
    for (let power = first; power <= last; power += step) found.push(Number(`1e${power}`));
    if (found.length > 1) return found;
    return [1, 2, 5].flatMap((digit) => [first - 1, first].map((power) => Number(`${digit}e${power}`)))
      .filter((value) => value >= low && value <= high).sort((a, b) => a - b);
  }

  function axis({ label, log, limits }, wide) {
    return {
      label, labelSize: 22, labelFont: "14px sans-serif", font: "13px sans-serif",
      stroke: "#262626", grid: { stroke: "#0000001a", width: 1 }, ticks: { stroke: "#00000040", width: 1 },
      size: wide ? 56 : 34, values: (_, values) => values.map((v) => tick(v, log)),
      ...(log && { splits: () => powers(...limits), filter: (_, splits) => splits }),
    };
  }

  function series({ name, color, style }) {
    // Without pxAlign 0 the library rounds a curve to whole pixels.
    const line = { label: name, stroke: color, width: style === "dashed" ? 1.6 : 2, pxAlign: 0, points: { show: false } };
    if (style === "dashed") line.dash = [7, 5];
    if (style === "dots") Object.assign(line, { paths: () => null, points: { show: true, size: 7, fill: color } });
    return line;
  }

  function slider({ name, values, start }, changed) {
    const label = document.createElement("label");
    const text = document.createElement("span");
    const input = document.createElement("input");
    const output = document.createElement("output");
    Object.assign(input, { type: "range", min: 0, max: values.length - 1, step: 1, value: start });
    text.textContent = name;
    const show = () => {
      output.textContent = values[input.value];
      input.setAttribute("aria-valuetext", values[input.value]);
    };
    input.addEventListener("input", () => { show(); changed(); });
    show();
    label.append(text, input, output);
    return { label, input };
  }

  function build(root) {
    const { x, curves, sliders, axes, alt } = JSON.parse(root.querySelector("script").textContent);
    const still = root.querySelector("img");
    const bar = Object.assign(document.createElement("div"), { className: "ntk-explorer-bar" });
    const plot = Object.assign(document.createElement("div"), { className: "ntk-explorer-plot" });
    const legend = Object.assign(document.createElement("ul"), { className: "ntk-explorer-legend" });
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", alt);

    // A curve's values stand in one list, the last slider's index running fastest; one set if it stands still.
    const controls = sliders.map((one) => slider(one, () => chart.setData(data())));
    bar.append(...controls.map(({ label }) => label));
    const data = () => {
      const place = controls.reduce((sum, { input }, k) => sum * sliders[k].values.length + Number(input.value), 0);
      return [x, ...curves.map(({ values }) => values[values.length === 1 ? 0 : place])];
    };
    for (const { name, color, style } of curves) {
      const item = document.createElement("li");
      const sign = document.createElement("span");
      sign.className = `ntk-explorer-${style}`;
      sign.style.color = color;
      item.append(sign, name);
      legend.append(item);
    }

    const scale = ({ limits, log }) => ({ time: false, distr: log ? 3 : 1, range: limits });
    const size = () => ({ width: plot.clientWidth, height: Math.round(Math.max(230, Math.min(340, 0.55 * plot.clientWidth))) });
    still.replaceWith(bar, plot, legend);
    const chart = new uPlot({
      ...size(),
      scales: { x: scale(axes.x), y: scale(axes.y) },
      axes: [axis(axes.x, false), axis(axes.y, true)],
      series: [{}, ...curves.map(series)],
      legend: { show: false },
      cursor: { show: false },
    }, data(), plot);
    new ResizeObserver(() => {
      const wanted = size();
      if (wanted.width && wanted.width !== chart.width) chart.setSize(wanted);
    }).observe(plot);
    root.chart = chart;
  }

  document.addEventListener("DOMContentLoaded", () => {
    const roots = [...document.querySelectorAll("article .ntk-explorer")];
    if (roots.length) library().then(() => roots.forEach(build));
  });
})();
