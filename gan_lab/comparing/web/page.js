"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const make = (tag, props = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), props);
    element.append(...children);
    return element;
  };

  // Colours that people with colour blindness tell apart (Okabe and Ito), for the best settings; others share a ramp.
  const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#2f9ac9", "#7b4ab5", "#6b6b6b"];
  const DARK = ["#56a9e8", "#ff8c42", "#2fc79b", "#e79ac6", "#e6c34a", "#8fd3f4", "#b79bf0", "#b0b0b0"];
  const AT_FIRST = 8; // settings drawn before anybody chooses
  const dark = () => {
    const theme = document.documentElement.dataset.theme;
    return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const colour = (i) => {
    const palette = dark() ? DARK : LIGHT;
    if (i < palette.length) return palette[i];
    return `hsl(${(i * 47) % 360} 45% ${dark() ? 68 : 42}%)`;
  };
  const clear = (hex, many) => (hex[0] === "#" ? hex + (many ? "18" : "30") : hex.replace(")", many ? " / 0.09)" : " / 0.19)"));
  const plain = (text) => String(text).replace(/[<&]/g, " "); // Plotly takes some markup
  const figure = (value) => {
    if (value === null || value === undefined) return "-";
    if (Number.isInteger(value)) return value.toLocaleString("en");
    return String(Number(value.toPrecision(4)));
  };

  // -- what is shown: the filter leaves settings and runs, the swatches choose among the settings ----------------------
  const chosen = data.settings.map((_, i) => i < AT_FIRST);
  const textOfRun = data.runs.map((run) => {
    const setting = data.settings[run.setting];
    return [setting.name, run.path, "seed=" + run.seed, run.status, run.error, ...run.health].join(" ").toLowerCase();
  });
  let words = [];
  const matchesRun = (i) => words.every((word) => textOfRun[i].includes(word));
  const runsOf = data.settings.map((_, i) => data.runs.map((run, j) => (run.setting === i ? j : -1)).filter((j) => j >= 0));
  const matches = (i) => runsOf[i].some(matchesRun);
  const shownSettings = () => data.settings.map((_, i) => i).filter((i) => chosen[i] && matches(i));

  // -- tables that are sorted by their heads ---------------------------------------------------------------------------
  // columns: {title, number, value(row), cell(row)}; the value sorts, the cell is shown.
  function table(element, columns, rows, visible) {
    let order = { column: -1, up: true };
    const head = make("tr");
    const body = make("tbody");
    const heads = columns.map((column, i) => {
      const cell = make("th", { scope: "col", className: column.number ? "number" : "" });
      if (column.title) {
        const button = make("button", { type: "button", textContent: column.title, title: "Sort by " + column.title });
        button.addEventListener("click", () => {
          order = { column: i, up: order.column === i ? !order.up : true };
          draw();
        });
        cell.append(button);
      } else {
        cell.append(make("span", { textContent: column.hidden || "" }));
      }
      head.append(cell);
      return cell;
    });
    element.replaceChildren(make("thead", {}, head), body);
    const lines = rows.map((row, i) => {
      const line = make("tr");
      for (const column of columns) {
        const cell = make("td", { className: (column.number ? "number " : "") + (column.style ? column.style(row) : "") });
        const shown = column.cell ? column.cell(row, i) : column.value(row);
        cell.append(shown === null || shown === undefined ? "-" : shown instanceof Node ? shown : column.number && typeof shown === "number" ? figure(shown) : String(shown));
        line.append(cell);
      }
      return line;
    });
    function draw() {
      heads.forEach((cell, i) => {
        if (i === order.column) cell.setAttribute("aria-sort", order.up ? "ascending" : "descending");
        else cell.removeAttribute("aria-sort");
      });
      const indices = rows.map((_, i) => i).filter((i) => visible(rows[i], i));
      if (order.column >= 0) {
        const value = columns[order.column].value;
        indices.sort((a, b) => compare(value(rows[a]), value(rows[b]), order.up));
      }
      body.replaceChildren(...indices.map((i) => lines[i]));
      return indices.length;
    }
    draw();
    return draw;
  }
  function compare(a, b, up) {
    const missing = (x) => x === null || x === undefined || x === "-";
    if (missing(a) || missing(b)) return missing(a) - missing(b); // what is missing stays below
    const number = (x) => (typeof x === "number" ? x : x !== "" && !isNaN(x) ? Number(x) : null);
    const difference = number(a) !== null && number(b) !== null ? number(a) - number(b) : String(a).localeCompare(String(b));
    return up ? difference : -difference;
  }
  const verdictStyle = (word) => ({ best: "good", inconclusive: "unsure", worse: "soft" })[word] || (word.includes("diverged") ? "bad" : "soft");

  const swatches = [];
  const settingColumns = [
    { hidden: "", value: () => 0, cell: (row, i) => {
      const button = make("button", { type: "button", className: "swatch", title: "Show in curves and samples" });
      button.setAttribute("aria-label", "Show " + row.name + " in curves and samples");
      button.addEventListener("click", () => { chosen[i] = !chosen[i]; drawPlots(); });
      swatches[i] = button;
      return button;
    } },
    { title: "#", number: true, value: (row) => data.settings.indexOf(row) + 1 },
    ...data.keys.map((key, k) => ({ title: key, value: (row) => row.labels[k] })),
    { title: "runs", value: (row) => row.counted, cell: (row) => `${row.counted} of ${row.runs}` },
    ...(data.metric ? [
      { title: data.metric, number: true, value: (row) => row.mean },
      { title: "95 % interval", value: (row) => (row.interval ? row.interval[0] : null), cell: (row) => (row.interval ? `${figure(row.interval[0])} to ${figure(row.interval[1])}` : "-") },
    ] : []),
    { title: "verdict", value: (row) => row.verdict || "-", style: (row) => verdictStyle(row.verdict) },
    ...data.others.map((name, k) => ({ title: name, number: true, value: (row) => row.others[k] })),
  ];
  const runColumns = [
    ...data.keys.map((key, k) => ({ title: key, value: (row) => data.settings[row.setting].labels[k] })),
    { title: "seed", number: true, value: (row) => row.seed },
    { title: "status", value: (row) => row.status, style: (row) => ({ finished: "", running: "unsure" })[row.status] ?? "bad" },
    ...(data.metric ? [{ title: data.metric, number: true, value: (row) => row.score }] : []),
    ...data.others.map((name, k) => ({ title: name, number: true, value: (row) => row.others[k] })),
    { title: "images", number: true, value: (row) => row.images },
    { title: "seconds", number: true, value: (row) => row.seconds },
    { title: "images/s", number: true, value: (row) => row.speed },
    { title: "health", value: (row) => row.health.join(", ") || "-", style: (row) => (row.health.length ? "unsure" : "") },
    { title: "run", value: (row) => row.path, style: () => "path", cell: (row) => (row.link ? make("a", { href: row.link, textContent: row.path, rel: "noreferrer" }) : row.path) },
  ];

  // -- plots -----------------------------------------------------------------------------------------------------------
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  function layout(more) {
    const axis = { gridcolor: style("--line"), zerolinecolor: style("--line"), linecolor: style("--line"), automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 50, r: 12, t: 10, b: 44 },
      font: { color: style("--ink"), family: "system-ui, sans-serif", size: 13 },
      hoverlabel: { bgcolor: style("--card"), bordercolor: style("--line"), font: { color: style("--ink") }, namelength: -1 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: style("--soft"), activecolor: style("--accent") },
      showlegend: false, ...more,
      xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
    };
  }

  function drawCurve() {
    const curve = data.curves[by("curve").value];
    if (!curve) return;
    const axis = document.querySelector("input[name=axis]:checked").value;
    const traces = [];
    const shown = shownSettings().filter((i) => curve.lines[i]);
    for (const i of shown) {
      const line = curve.lines[i];
      const x = line[axis];
      const hex = colour(i);
      const name = data.settings[i].name;
      if (line.low.some((low, k) => low !== line.high[k])) {
        traces.push({ x, y: line.low, mode: "lines", line: { width: 0 }, hoverinfo: "skip" });
        traces.push({ x, y: line.high, mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: clear(hex, shown.length > 4), hoverinfo: "skip" });
      }
      traces.push({
        x, y: line.mean, name, mode: x.length < 2 ? "markers" : "lines", line: { color: hex, width: 2 }, marker: { color: hex },
        customdata: line.low.map((low, k) => [figure(low), figure(line.high[k])]),
        hovertemplate: "%{y:.4g} (%{customdata[0]} to %{customdata[1]})  " + plain(name) + "<extra></extra>",
      });
    }
    const all = data.settings.filter((_, i) => matches(i)).length;
    by("legend").replaceChildren(...shown.map((i) => {
      const mark = make("span", { className: "mark" });
      mark.style.background = colour(i);
      return make("li", {}, mark, data.settings[i].name);
    }));
    by("shown").textContent = shown.length < all ? `${shown.length} of ${all} settings are drawn; the squares in the ranking choose.` : "";
    const titles = { images: "images", seconds: "seconds" };
    Plotly.react("curve-plot", traces, layout({
      hovermode: "x unified", hoverdistance: -1, dragmode: innerWidth < 640 ? false : "zoom",
      xaxis: { title: { text: titles[axis] }, rangemode: "tozero" },
      yaxis: { title: { text: plain(curve.name) }, type: by("log").checked ? "log" : "linear" },
    }), config);
  }

  function drawParallel() {
    const axes = data.keys.map((key, k) => ({ title: key, value: (run) => data.settings[run.setting].labels[k] }));
    if (data.metric) axes.push({ title: data.metric, value: (run) => run.score, turned: data.lower }); // better is up
    data.others.slice(0, 2).forEach((name, k) => axes.push({ title: name, value: (run) => run.others[k] }));
    by("parallel").hidden = axes.length < 2;
    if (axes.length < 2) return;
    const rows = data.runs.filter((run, i) => matchesRun(i) && (!data.metric || run.score !== null));
    axes.forEach((axis) => scale(axis, rows));
    const bySetting = new Map();
    rows.forEach((run) => bySetting.set(run.setting, [...(bySetting.get(run.setting) || []), run]));
    const traces = [];
    for (const [i, runs] of bySetting) {
      const trace = { x: [], y: [], text: [], mode: "lines+markers", line: { color: colour(i), width: 1.3, shape: "spline", smoothing: 0.5 }, marker: { size: 5, color: colour(i) }, opacity: chosen[i] ? 0.85 : 0.22, hovertemplate: "%{text}<extra></extra>" };
      for (const run of runs) {
        axes.forEach((axis, k) => {
          trace.x.push(k);
          trace.y.push(axis.at(axis.value(run)));
          const value = axis.value(run);
          const what = `${axis.title} ${typeof value === "number" ? figure(value) : value}`;
          trace.text.push(`${plain(data.settings[i].name)} seed=${run.seed}<br>${plain(what)}`);
        });
        trace.x.push(null); trace.y.push(null); trace.text.push("");
      }
      traces.push(trace);
    }
    const ticks = axes.flatMap((axis, k) => axis.ticks.map(([text, y]) => ({
      x: k, y, text: plain(text), xanchor: k === axes.length - 1 ? "right" : "left", xshift: k === axes.length - 1 ? -7 : 7, showarrow: false,
      font: { size: 12 }, bgcolor: style("--back"), borderpad: 1, opacity: 0.9,
    })));
    const heads = axes.map((axis, k) => ({ x: k, y: 1.12, text: `<b>${plain(axis.title)}</b>`, showarrow: false, xanchor: k === 0 ? "left" : k === axes.length - 1 ? "right" : "center" }));
    by("parallel-plot").style.minWidth = axes.length * 130 + "px";
    Plotly.react("parallel-plot", traces, layout({
      hovermode: "closest", dragmode: false, annotations: [...ticks, ...heads], margin: { l: 20, r: 20, t: 10, b: 16 },
      shapes: axes.map((_, k) => ({ type: "line", x0: k, x1: k, y0: 0, y1: 1, line: { color: style("--soft"), width: 1 } })),
      xaxis: { visible: false, range: [-0.05, axes.length - 0.95] }, yaxis: { visible: false, range: [-0.06, 1.2] },
    }), { ...config, displayModeBar: false });
  }

  // Give an axis its ticks and the height of a value: numbers on a scale, a logarithmic one where they span much, and words apart.
  function scale(axis, rows) {
    const values = [...new Set(rows.map(axis.value))].filter((value) => value !== null && value !== "-");
    const numbers = values.map(Number);
    if (values.length && numbers.every(Number.isFinite)) {
      const low = Math.min(...numbers), high = Math.max(...numbers);
      const bend = low > 0 && high / low >= 30 ? Math.log : (x) => x;
      const span = bend(high) - bend(low) || 1;
      const share = (value) => (bend(Number(value)) - bend(low)) / span;
      axis.at = (value) => (value === null || value === "-" ? null : axis.turned ? 1 - share(value) : share(value));
      const few = numbers.length <= 6 ? numbers : [low, high];
      axis.ticks = few.map((value) => [figure(value), axis.at(value)]);
      return;
    }
    values.sort();
    axis.at = (value) => (values.length < 2 ? 0.5 : values.indexOf(value) / (values.length - 1));
    axis.ticks = values.map((value) => [value, axis.at(value)]);
  }

  function drawSamples() {
    const { at, rows } = data.samples;
    by("samples").hidden = !at.length;
    if (!at.length) return;
    const k = Number(by("at").value);
    by("at-text").textContent = at[k].toLocaleString("en") + " images";
    const shown = rows.filter((row) => chosen[row.setting] && matches(row.setting));
    by("cards").replaceChildren(...shown.map((row) => {
      const setting = data.settings[row.setting];
      const sheet = row.pictures[k];
      const picture = !sheet
        ? make("div", { className: "none", textContent: "no picture here" })
        : sheet.text !== undefined
          ? make("pre", { textContent: sheet.text })
          : make("img", { src: sheet, alt: `Samples of ${setting.name} after ${at[k]} images` });
      const caption = make("figcaption", {}, make("strong", { textContent: `${row.setting + 1}. ${setting.name}` }));
      if (data.metric) caption.append(` ${data.metric} ${figure(setting.mean)}`);
      if (row.caption) caption.append(make("span", { className: "hint", textContent: ` (${row.caption})` }));
      return make("figure", {}, picture, caption);
    }));
  }

  function drawPlots() {
    swatches.forEach((button, i) => {
      button.style.setProperty("--colour", colour(i));
      button.setAttribute("aria-pressed", String(chosen[i]));
    });
    drawCurve();
    drawParallel();
    drawSamples();
  }

  // -- the rest --------------------------------------------------------------------------------------------------------
  by("headline").textContent = data.headline;
  by("notes").append(...data.notes.map((note) => make("li", { textContent: note })));
  by("ranking-hint").textContent = data.metric
    ? `${data.metric}: interquartile mean over runs, with the bootstrap's interval; ${data.lower ? "lower" : "higher"} is better. Inconclusive: the interval overlaps that of the best.`
    : "Nothing was scored: settings as they come.";
  data.curves.forEach((curve, i) => by("curve").append(make("option", { value: String(i), textContent: curve.name })));
  by("curves").hidden = !data.curves.length;
  by("at").max = String(Math.max(data.samples.at.length - 1, 0));
  by("at").value = by("at").max;
  if (data.samples.more > 0) by("samples-hint").textContent += ` Of the first ${data.settings.length - data.samples.more} settings.`;

  if (data.folder) by("runs-hint").textContent = "In " + data.folder;
  const drawSettings = table(by("settings-table"), settingColumns, data.settings, (_, i) => matches(i));
  const drawRuns = table(by("runs-table"), runColumns, data.runs, (_, i) => matchesRun(i));
  by("differing").hidden = !data.differing.length && !Object.keys(data.provenance).length;
  table(by("differing-table"), [
    { title: "setting", value: (row) => row.key, style: () => "path" },
    { title: "values", value: (row) => row.values.join(", ") },
  ], data.differing, () => true);
  by("provenance").append(...Object.entries(data.provenance).flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));

  by("search").hidden = !data.searches.length;
  by("searches").append(...data.searches.map((search) => {
    const bars = search.importances.map(([name, share]) => {
      const bar = make("span", { className: "bar-of" });
      bar.style.width = Math.round(100 * share) + "%";
      return make("li", {}, make("span", { className: "name", textContent: name }), make("span", { className: "track" }, bar), ` ${Math.round(100 * share)} %`);
    });
    const best = search.best.map((trial) => make("li", { textContent: `${trial.values} ` }, make("code", { textContent: trial.settings }), ` (trial ${trial.trial})`));
    return make("div", {}, make("p", { textContent: search.told }), make("ul", { className: "bars" }, ...bars), make("ol", {}, ...best));
  }));

  by("health").hidden = !data.health.length;
  by("health-list").append(...data.health.map((line) => make("li", { textContent: line.replace(/^health: /, "") })));
  const failed = data.runs.map((run, i) => [run, i]).filter(([run]) => run.status !== "finished");
  by("failed").hidden = !failed.length;
  function drawFailed() {
    const shown = failed.filter(([, i]) => matchesRun(i));
    by("failed-list").replaceChildren(...shown.map(([run]) => make("li", {},
      make("strong", { className: run.status === "running" ? "unsure" : "bad", textContent: run.status }), " ",
      `${data.settings[run.setting].name} seed=${run.seed} `, make("code", { textContent: run.path }),
      ...(run.error ? [make("div", { textContent: run.error })] : []))));
  }
  drawFailed();
  document.querySelector("nav").append(...[...document.querySelectorAll("section")].filter((s) => !s.hidden).map((s) => make("a", { href: "#" + s.id, textContent: s.dataset.title })));

  by("filter").addEventListener("input", () => {
    words = by("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    drawSettings();
    const left = drawRuns();
    drawFailed();
    by("matches").textContent = words.length ? `${left} of ${data.runs.length} runs` : "";
    drawPlots();
  });
  by("curve").addEventListener("change", drawCurve);
  by("log").addEventListener("change", drawCurve);
  document.querySelectorAll("input[name=axis]").forEach((input) => input.addEventListener("change", drawCurve));
  by("at").addEventListener("input", drawSamples);
  const THEMES = ["system", "dark", "light"];
  let theme = 0;
  by("theme").addEventListener("click", () => {
    theme = (theme + 1) % THEMES.length;
    if (theme) document.documentElement.dataset.theme = THEMES[theme];
    else delete document.documentElement.dataset.theme;
    by("theme").textContent = "Theme: " + THEMES[theme];
    drawPlots();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawPlots);
  drawPlots();
})();
