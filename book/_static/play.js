// Figures to play with (src/pwp_lib/show/interactive.py writes them). Plain SVG, no network.
// Each figure keeps its static picture until it has been drawn here, and again in print.
(function () {
  "use strict";

  var INK = "#1b1f24", MUTED = "#59636e", GRID = "#e4e7eb", BLUE = "#0067a5";
  // Drawn at the width at hand, so that letters keep their size on a telephone.
  var W = 640, FONT = 16, FEW = 6;

  function el(parent, name, attributes, text) {
    var node = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.keys(attributes || {}).forEach(function (k) { node.setAttribute(k, attributes[k]); });
    if (text !== undefined) { node.textContent = text; }
    parent.appendChild(node);
    return node;
  }
  function stage(fig, height, label) {
    var holder = fig.querySelector(".pwp-plot");
    W = Math.max(300, Math.min(680, holder.clientWidth || 640));
    FONT = W < 460 ? 13 : 16;
    FEW = W < 460 ? 4 : 6;
    holder.textContent = "";
    return el(holder, "svg", { viewBox: "0 0 " + W + " " + height, role: "img", "aria-label": label });
  }
  function scale(a, b, from, to) {
    return function (v) { return from + (to - from) * (v - a) / (b - a || 1); };
  }
  function ticks(a, b, n) {
    var raw = (b - a) / n, power = Math.pow(10, Math.floor(Math.log10(raw)));
    var step = [1, 2, 2.5, 5, 10].map(function (k) { return k * power; })
      .find(function (s) { return s >= 0.85 * raw; });
    var out = [];
    for (var t = Math.ceil(a / step) * step; t <= b + step * 1e-9; t += step) {
      out.push(Math.abs(t) < step * 1e-9 ? 0 : t);
    }
    return out;
  }
  function text(svg, x, y, words, more) {
    var given = { x: x, y: y, "font-size": FONT, fill: INK };
    Object.keys(more || {}).forEach(function (k) { given[k] = more[k]; });
    return el(svg, "text", given, words);
  }
  function line(svg, x1, y1, x2, y2, more) {
    var given = { x1: x1, y1: y1, x2: x2, y2: y2, stroke: INK, "stroke-width": 1.5 };
    Object.keys(more || {}).forEach(function (k) { given[k] = more[k]; });
    return el(svg, "line", given);
  }
  function xAxis(svg, x, values, top, bottom, format, title) {
    values.forEach(function (v) {
      line(svg, x(v), top, x(v), bottom, { stroke: GRID, "stroke-width": 1 });
      text(svg, x(v), bottom + 22, format(v), { "text-anchor": "middle" });
    });
    text(svg, W / 2, bottom + 46, title, { "text-anchor": "middle" });
  }
  function yAxis(svg, y, values, left, right, format) {
    values.forEach(function (v) {
      line(svg, left, y(v), right, y(v), { stroke: GRID, "stroke-width": 1 });
      text(svg, left - 8, y(v) + 6, format(v), { "text-anchor": "end" });
    });
  }
  function path(svg, xs, ys, more) {
    var d = xs.map(function (x, i) {
      return (i ? "L" : "M") + x.toFixed(1) + " " + ys[i].toFixed(1);
    }).join("");
    var given = { d: d, fill: "none", stroke: BLUE, "stroke-width": 3 };
    Object.keys(more || {}).forEach(function (k) { given[k] = more[k]; });
    return el(svg, "path", given);
  }
  function minus(s) { return String(s).replace("-", "−"); }
  function num(v, d) { return minus(v.toFixed(d)); }
  function pct(v, d) { return num(100 * v, d === undefined ? 1 : d) + "%"; }
  function whole(v) { return minus(Math.round(v * 100) / 100); }
  function tenth(v) { return pct(v, Math.abs(v * 100 - Math.round(v * 100)) < 1e-6 ? 0 : 1); }
  function extent(list) {
    var known = list.filter(function (v) { return v !== null; });
    return [Math.min.apply(null, known), Math.max.apply(null, known)];
  }
  function plural(n, word) { return n + " " + word + (n === 1 ? "" : "s"); }

  var draw = {};

  draw.shrinkage = function (fig, data, c) {
    var tau2 = c.tau * c.tau, sigma2 = c.sigma * c.sigma;
    var n = data.n.map(function (k) { return k * c.times; });
    var kept = n.map(function (k) { return tau2 / (tau2 + sigma2 / k); });
    var chosen = data.names.indexOf(c.who);
    var order = data.n.map(function (_, i) { return i; })
      .sort(function (a, b) { return data.n[a] - data.n[b]; });
    var high = Math.max.apply(null, data.raw.map(Math.abs)) * 1.12, height = 390;
    var svg = stage(fig, height, "Raw means and shrunken residuals of therapists by caseload");
    var x = scale(0, order.length - 1, 70, W - 20), y = scale(-high, high, height - 60, 12);
    yAxis(svg, y, ticks(-high, high, FEW), 55, W - 5, whole);
    line(svg, 55, y(0), W - 5, y(0), { "stroke-dasharray": "6 4" });
    order.forEach(function (i, k) {
      var raw = data.raw[i], now = kept[i] * raw, on = i === chosen;
      var colour = data.colour[i];
      line(svg, x(k), y(raw), x(k), y(now), { stroke: colour, "stroke-width": on ? 4 : 2 });
      el(svg, "circle", { cx: x(k), cy: y(raw), r: on ? 8 : 5.5, fill: "#fff", stroke: colour,
        "stroke-width": 2 });
      el(svg, "circle", { cx: x(k), cy: y(now), r: on ? 9 : 6.5, fill: colour,
        stroke: on ? INK : colour, "stroke-width": 2 });
    });
    text(svg, 60, height - 16, "smallest caseload");
    text(svg, W - 5, height - 16, "largest caseload", { "text-anchor": "end" });
    text(svg, W / 2, height - 38, "○ raw mean   ● residual (below the line: better)",
      { "text-anchor": "middle" });
    return c.who + " with " + plural(Math.round(n[chosen]), "patient") + " keeps " +
      pct(kept[chosen], 0) + " of the raw mean: " + num(data.raw[chosen], 2) + " becomes " +
      num(kept[chosen] * data.raw[chosen], 2) + " points. The therapist effect is " +
      pct(tau2 / (tau2 + sigma2)) + ".";
  };

  draw.severity = function (fig, data, c, changed) {
    var m = data.measures[c.measure];
    var root = Math.sqrt(m.v0 * m.v1), own = root > 0 ? m.cov / root : 0;
    if (changed === "measure" || changed === undefined) {
      set(fig, "score", { min: m.x[0], max: m.x[m.x.length - 1], value: Math.round(m.centre) });
      set(fig, "r", { value: own.toFixed(2) });
      c = read(fig);
    }
    var cov = Math.abs(c.r - own) < 0.006 ? m.cov : c.r * root;
    function effect(score) {
      var d = score - m.centre, v = m.v0 + 2 * cov * d + m.v1 * d * d;
      return v / (v + m.residual);
    }
    var values = m.x.map(effect), asFitted = cov === m.cov, height = 380;
    var top = Math.max(0.2, Math.min(1, 1.1 * extent(values.concat(asFitted ? m.upper : []))[1]));
    var svg = stage(fig, height, "Therapist effect by score before treatment, " + m.label);
    var x = scale(m.x[0], m.x[m.x.length - 1], 70, W - 20), y = scale(0, top, height - 70, 12);
    yAxis(svg, y, ticks(0, top, FEW), 62, W - 10, tenth);
    xAxis(svg, x, ticks(m.x[0], m.x[m.x.length - 1], FEW), 12, height - 70, whole,
      m.label + " before treatment");
    var xs = m.x.map(x);
    if (asFitted && m.lower[0] !== null) {
      var band = xs.concat(xs.slice().reverse());
      var edge = m.upper.map(function (v) { return y(Math.min(v, top)); })
        .concat(m.lower.slice().reverse().map(y));
      path(svg, band, edge, { fill: m.colour, "fill-opacity": 0.15, stroke: "none" });
    }
    path(svg, xs, values.map(y), { stroke: m.colour });
    line(svg, x(c.score), y(0), x(c.score), y(effect(c.score)), { "stroke-dasharray": "5 4" });
    el(svg, "circle", { cx: x(c.score), cy: y(effect(c.score)), r: 9, fill: m.colour });
    return "At a " + m.label + " score of " + c.score + " the therapist effect is " +
      pct(effect(c.score)) + (asFitted ? ", as fitted" : ", if intercept and slope correlated " +
      num(c.r, 2) + " (fitted: " + num(own, 2) + ")") + ".";
  };

  draw.caterpillar = function (fig, data, c) {
    var m = data.measures[c.measure], count = data.names.length;
    var order = data.names.map(function (_, i) { return i; }).sort(function (a, b) {
      if (c.order === "caseload") { return data.n[b] - data.n[a]; }
      if (c.order === "name") { return data.names[a] < data.names[b] ? -1 : 1; }
      return m.residual[a] - m.residual[b];
    });
    var height = 26 * count + 80, ends = extent(m.lower.concat(m.upper));
    var svg = stage(fig, height, "Residuals of therapists with 95% intervals, " + m.label);
    var left = 7.2 * FONT + 8, x = scale(ends[0], ends[1], left + 12, W - 15);
    xAxis(svg, x, ticks(ends[0], ends[1], FEW), 8, height - 62, whole,
      "Points from the average (left: better)");
    line(svg, x(0), 8, x(0), height - 62);
    order.forEach(function (i, k) {
      var y = 22 + 26 * k, on = data.names[i] === c.who, colour = data.colour[i];
      var group = el(svg, "g", { style: "cursor:pointer" });
      el(group, "rect", { x: 0, y: y - 13, width: W, height: 26, fill: on ? "#eef3f7" : "#fff",
        "fill-opacity": on ? 0.9 : 0 });
      text(group, left, y + 5, data.names[i] + " (" + data.n[i] + ")",
        { "text-anchor": "end", "font-weight": on ? 700 : 400 });
      line(group, x(m.lower[i]), y, x(m.upper[i]), y,
        { stroke: colour, "stroke-width": on ? 5.5 : 3 });
      var clear = m.lower[i] > 0 || m.upper[i] < 0;
      el(group, "circle", { cx: x(m.residual[i]), cy: y, r: on ? 8 : 6,
        fill: clear ? colour : "#fff", stroke: colour, "stroke-width": 2.5 });
      function choose() { if (c.who !== data.names[i]) { set(fig, "who", { value: data.names[i] }); redraw(fig, "who"); } }
      group.addEventListener("pointerenter", choose);
      group.addEventListener("click", choose);
    });
    var w = data.names.indexOf(c.who);
    var verdict = m.upper[w] < 0 ? "better than the average"
      : m.lower[w] > 0 ? "worse than the average" : "not to be told from the average";
    return c.who + (data.cluster[w] ? " (" + data.cluster[w] + " cluster)" : "") + ": " +
      plural(data.n[w], "patient") + ", rank " + m.rank[w] + " of " + count + ", residual " +
      num(m.residual[w], 2) + " points (" + num(m.lower[w], 2) + " to " + num(m.upper[w], 2) +
      "), " + verdict + ".";
  };

  draw.overlap = function (fig, data, c) {
    var count = data.names.length, height = 26 * count + 80;
    var a = data.names.indexOf(c.a), b = data.names.indexOf(c.b);
    var svg = stage(fig, height, "Intervals of therapists' ranks");
    var x = scale(1, count, 80, W - 25);
    var low = Math.max(data.lower[a], data.lower[b]), up = Math.min(data.upper[a], data.upper[b]);
    if (up >= low && a !== b) {
      el(svg, "rect", { x: x(low) - 8, y: 4, width: x(up) - x(low) + 16, height: 26 * count + 6,
        fill: "#fff3cd" });
    }
    var step = Math.max(1, Math.round(count / 6)), marks = [1];
    for (var t = step; t < count; t += step) { if (t > 1 && count - t >= step / 2) { marks.push(t); } }
    marks.push(count);
    xAxis(svg, x, marks, 8, height - 62, whole, "Rank (1: most effective)");
    data.names.forEach(function (name, i) {
      var y = 20 + 26 * i, on = i === a || i === b, colour = data.colour[i];
      text(svg, 66, y + 6, name, { "text-anchor": "end", "font-weight": on ? 700 : 400 });
      line(svg, x(data.lower[i]), y, x(data.upper[i]), y, { stroke: colour,
        "stroke-width": on ? 9 : 5, "stroke-opacity": on ? 0.85 : 0.3 });
      el(svg, "circle", { cx: x(data.rank[i]), cy: y, r: on ? 9 : 5, fill: colour,
        stroke: "#fff", "stroke-width": 1.5 });
    });
    if (a === b) { return "Choose two therapists."; }
    var shared = up - low + 1;
    return c.a + " ranks " + data.rank[a] + " (" + data.lower[a] + " to " + data.upper[a] + "), " +
      c.b + " ranks " + data.rank[b] + " (" + data.lower[b] + " to " + data.upper[b] + "): " +
      (shared > 0 ? "their intervals share " + plural(shared, "place") : "their intervals do not overlap") +
      ". The probability that " + c.a + " is the more effective of the two is " +
      pct(data.better[a][b], 0) + ".";
  };

  draw.precision = function (fig, data, c) {
    var T = data.therapists, P = data.patients, V = data.vpc;
    function at(v, t, p) { return (v * T.length + t) * P.length + p; }
    show(fig, "t", T[c.t]); show(fig, "p", P[c.p]); show(fig, "v", pct(V[c.v]));
    var k = at(c.v, c.t, c.p), height = 400;
    var svg = stage(fig, height, "Power by number of therapists, and the interval to expect");
    var x = scale(0, T.length - 1, 75, W - 25), y = scale(0, 1, 240, 14);
    yAxis(svg, y, [0, 0.2, 0.4, 0.6, 0.8, 1], 62, W - 10, function (v) { return pct(v, 0); });
    text(svg, 68, 232, "Power", { "font-weight": 700 });
    T.forEach(function (n, i) {
      text(svg, x(i), 262, n, { "text-anchor": "middle", "font-size": FONT - 1 });
    });
    text(svg, W / 2, 284, "Therapists", { "text-anchor": "middle" });
    var powers = T.map(function (_, i) { return data.power[at(c.v, i, c.p)]; });
    path(svg, T.map(function (_, i) { return x(i); }), powers.map(y));
    el(svg, "circle", { cx: x(c.t), cy: y(data.power[k]), r: 9, fill: BLUE });
    var slice = data.upper.slice(at(c.v, 0, 0), at(c.v + 1, 0, 0));
    var top = extent(slice)[1], z = scale(0, top, 75, W - 25);
    text(svg, 66, 318, "Interval to expect", { "font-weight": 700 });
    ticks(0, top, FEW).forEach(function (v) {
      line(svg, z(v), 326, z(v), 362, { stroke: GRID });
      text(svg, z(v), 384, tenth(v), { "text-anchor": "middle", "font-size": FONT - 1 });
    });
    line(svg, z(data.lower[k]), 344, z(data.upper[k]), 344, { stroke: BLUE, "stroke-width": 6 });
    el(svg, "circle", { cx: z(V[c.v]), cy: 344, r: 8, fill: BLUE });
    return plural(T[c.t], "therapist") + " with " + plural(P[c.p], "patient") + " each (" +
      T[c.t] * P[c.p] + " in all) find a therapist effect of " + pct(V[c.v]) +
      " with a power of " + pct(data.power[k], 0) + ", and can be expected to place it between " +
      pct(data.lower[k]) + " and " + pct(data.upper[k]) + ".";
  };

  function read(fig) {
    var out = {};
    fig.querySelectorAll("input, select").forEach(function (i) {
      out[i.name] = i.type === "range" ? Number(i.value) : i.value;
    });
    return out;
  }
  function set(fig, name, values) {
    var input = fig.querySelector('[name="' + name + '"]');
    Object.keys(values).forEach(function (k) { input[k] = values[k]; });
    if (input.type === "range") { label(fig, input); }
  }
  function show(fig, name, words) {
    fig.querySelector('output[data-for="' + name + '"]').textContent = words;
    fig.querySelector('[name="' + name + '"]').setAttribute("aria-valuetext", String(words));
  }
  function label(fig, input) {
    var output = fig.querySelector('output[data-for="' + input.name + '"]');
    if (output) { show(fig, input.name, minus(input.value) + output.dataset.unit); }
  }
  function redraw(fig, changed) {
    var data = JSON.parse(fig.querySelector('script[type="application/json"]').textContent);
    var words = draw[fig.dataset.play](fig, data, read(fig), changed);
    fig.querySelector(".pwp-readout").textContent = words;
  }
  function start(fig) {
    fig.classList.add("pwp-live");
    try {
      redraw(fig);
    } catch (error) {
      fig.classList.remove("pwp-live");
      console.error("A figure to play with could not be drawn: " + error.message);
      return;
    }
    fig.addEventListener("input", function (event) {
      if (event.target.type === "range") { label(fig, event.target); }
      redraw(fig, event.target.name);
    });
  }
  var width = window.innerWidth;
  function again() {
    if (window.innerWidth === width) { return; }
    width = window.innerWidth;
    document.querySelectorAll(".pwp-play.pwp-live").forEach(function (fig) { redraw(fig, "size"); });
  }
  function begin() {
    document.querySelectorAll(".pwp-play").forEach(start);
    window.addEventListener("resize", again);
  }
  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", begin);
  } else {
    begin();
  }
})();
