"use strict";
(() => {
  const by = (id) => document.getElementById(id);
  const make = (tag, props = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), props);
    element.append(...children);
    return element;
  };
  const SMALL = 128; // pixels: smaller pictures are enlarged without blurring
  const STRIP = 9; // frames of an interpolation that are shown beside each other
  let about = {};

  // -- asking the server ---------------------------------------------------------------------------------------------
  const tell = (why) => {
    by("trouble").hidden = !why;
    by("trouble").textContent = why || "";
  };
  const ask = async (path, query = {}, body) => {
    const known = Object.entries(query).filter(([, value]) => value !== null && value !== "");
    const options = body && { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } };
    let response;
    try {
      response = await fetch(`${path}?${new URLSearchParams(known)}`, options || {});
    } catch {
      throw new Error("the server does not answer: has gan-lab play ended?");
    }
    if (!response.ok) throw new Error((await response.json()).error);
    return response;
  };
  const json = async (...words) => (await ask(...words)).json();
  // A function that does its work once more after calls that came while it was busy, however many they were.
  const latest = (element, work) => {
    let busy = false, again = false;
    return async () => {
      again = true;
      if (busy) return;
      busy = true;
      element.classList.add("busy");
      element.setAttribute("aria-busy", "true");
      while (again) {
        again = false;
        try {
          await work();
          if (!again) tell("");
        } catch (error) {
          tell(error.message);
        }
      }
      busy = false;
      element.classList.remove("busy");
      element.setAttribute("aria-busy", "false");
    };
  };
  const later = (milliseconds, work) => {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(work, milliseconds);
    };
  };

  // -- small things --------------------------------------------------------------------------------------------------
  const picture = (element, source, alt) => {
    if (alt) element.alt = alt;
    element.onload = () => element.classList.toggle("pixels", element.naturalWidth < SMALL);
    element.src = source;
    return element;
  };
  const options = (select, values, names = values) =>
    select.append(...values.map((value, i) => make("option", { value, textContent: names[i] })));
  const saves = (link, href, name) => Object.assign(link, { href, download: name, hidden: false });
  const newSeed = () => String(Math.floor(Math.random() * 10000));
  const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const fileName = (...words) => [about.name, ...words].join("-").replace(/[^\w.-]+/g, "_");
  // Arrow keys go from one button of a group to the next.
  const walk = (group, across) =>
    group.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across(), ArrowDown: across() }[event.key];
      const all = [...group.children];
      const next = all[all.indexOf(document.activeElement) + step];
      if (!next) return;
      event.preventDefault();
      next.focus();
    });

  // -- samples of a seed ---------------------------------------------------------------------------------------------
  let labels = null; // of the samples that are shown
  let point = null; // the chosen one: seed, index, label
  let frames = []; // from it to another seed
  const common = () => ({ truncation: by("truncation").value === "1" ? "" : by("truncation").value });
  const wanted = () => ({ seed: by("seed").value, num: by("num").value, label: by("class").value, ...common() });
  const nameOf = (label) => (/^\d+$/.test(about.classes[label]) ? `class ${about.classes[label]}` : about.classes[label]);

  const drawSheet = (found, sheet, caption, link, name) => {
    const lines = found.lines && make("ol", {}, ...found.lines.map((line) => make("li", { textContent: line })));
    sheet.replaceChildren(lines || picture(new Image(), found.picture, "samples"));
    sheet.hidden = false;
    caption.textContent = found.caption || "";
    if (!link) return;
    const text = found.lines && `data:text/plain;charset=utf-8,${encodeURIComponent(found.lines.join("\n") + "\n")}`;
    saves(link, text || found.picture, `${name}.${found.lines ? "txt" : "png"}`);
    link.textContent = found.lines ? "Save the lines" : "Save the picture";
  };

  const loadSheet = latest(by("sheet"), async () => {
    const query = wanted();
    drawSheet(await json("sheet", query), by("sheet"), by("caption"), by("save"), fileName("seed", query.seed));
  });

  const loadGrid = latest(by("grid"), async () => {
    const query = wanted();
    const found = await json("samples", query);
    labels = found.labels;
    by("grid").style.setProperty("--across", Math.ceil(Math.sqrt(found.pictures.length)));
    const buttons = found.pictures.map((source, i) => {
      const name = `sample ${i} of seed ${query.seed || 0}${labels ? `, ${nameOf(labels[i])}` : ""}`;
      const image = picture(new Image(), source, name);
      return make("button", { type: "button", title: name, onclick: () => choose(query.seed || "0", i) }, image);
    });
    by("grid").replaceChildren(...buttons);
    by("grid").hidden = false;
    choose(query.seed || "0", Math.min(point ? point.index : 0, buttons.length - 1));
  });

  // -- the chosen picture --------------------------------------------------------------------------------------------
  const moves = () => [...by("sliders").querySelectorAll("input")].map((slider) => slider.value);
  const axes = () => document.querySelector("input[name=axes]:checked").value;
  const where = () => ({
    ...point, ...common(), axes: axes(), moves: moves().some((move) => move !== "0") ? moves().join(",") : "",
  });

  let chosen = ""; // what was asked for when it was chosen
  const choose = (seed, index) => {
    const before = chosen;
    chosen = [seed, index, by("class").value].join();
    if (chosen === before) return mark(), moved(); // of another truncation: class and sliders stay
    point = { seed, index, label: labels ? labels[index] : null };
    if (labels) by("its-class").value = String(point.label);
    mark();
    by("chosen").hidden = false;
    reset();
  };

  const mark = () =>
    [...by("grid").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === point.index)));

  let alone = ""; // the picture at the point itself
  const show = () => {
    const at = Number(by("share").value), of = about.frames - 1;
    const source = at ? frames[at] : alone;
    if (!source) return;
    const moved = moves().some((move) => move !== "0") ? ", moved" : "";
    const name = `seed ${point.seed}, sample ${point.index}${point.label === null ? "" : `, ${nameOf(point.label)}`}${moved}`;
    const way = at ? `, ${Math.round((100 * at) / of)}% of the way to seed ${by("end").value || 0}` : "";
    by("which").textContent = name + way;
    picture(by("picture"), source, name + way);
    saves(by("download"), source, `${fileName("seed", point.seed, "sample", point.index, ...(at ? ["frame", at] : []))}.png`);
    [...by("strip").children].forEach((button) => button.setAttribute("aria-pressed", String(Number(button.value) === at)));
  };

  const loadPicture = latest(by("picture"), async () => {
    const made = await (await ask("picture.png", where())).blob();
    if (alone) URL.revokeObjectURL(alone);
    alone = URL.createObjectURL(made);
    show();
  });

  const loadPath = latest(by("strip"), async () => {
    frames = (await json("path", { ...where(), end: by("end").value || "0" })).pictures;
    const shown = Array.from({ length: STRIP }, (_, i) => Math.round((i * (frames.length - 1)) / (STRIP - 1)));
    const buttons = shown.map((at) => {
      const name = `${Math.round((100 * at) / (frames.length - 1))}% of the way`;
      return make("button", { type: "button", value: at, title: name, onclick: () => stepTo(at) }, picture(new Image(), frames[at], name));
    });
    by("strip").replaceChildren(...buttons);
    show();
  });
  const loadPathSoon = later(350, loadPath);
  const stepTo = (at) => {
    by("share").value = at;
    show();
  };
  const moved = () => {
    by("share").value = 0;
    loadPicture();
    loadPathSoon();
  };

  const drawSliders = () => {
    const ends = { min: -about.farthest, max: about.farthest };
    const rows = Array.from({ length: about.sliders[axes()] }, (_, i) => {
      const output = make("output", { textContent: "0" });
      const slider = make("input", { type: "range", ...ends, step: 0.1, value: 0 });
      slider.value = "0"; // the range is set after the value in some orders of attributes
      slider.addEventListener("input", () => {
        output.textContent = slider.value;
        moved();
      });
      return make("label", {}, make("span", { textContent: String(i + 1), className: "soft" }), slider, output);
    });
    by("sliders").replaceChildren(...rows);
  };
  const reset = () => {
    drawSliders();
    moved();
  };

  const startMaking = () => {
    by("makes").hidden = false;
    options(by("num"), about.counts);
    by("num").value = about.counts[Math.floor(about.counts.length / 2)];
    options(by("class"), about.classes.map((_, i) => String(i)), about.classes);
    options(by("its-class"), about.classes.map((_, i) => String(i)), about.classes);
    by("share").max = about.frames - 1;
    const load = about.pictures ? loadGrid : loadSheet;
    by("new").onclick = () => {
      by("seed").value = newSeed();
      load();
    };
    for (const id of ["seed", "num", "class"]) by(id).addEventListener("change", load);
    by("truncation").addEventListener("input", () => {
      by("controls").querySelector("output").textContent = by("truncation").value;
      load();
    });
    by("its-class").addEventListener("change", () => {
      point.label = Number(by("its-class").value);
      moved();
    });
    by("share").addEventListener("input", show);
    by("end").addEventListener("change", loadPath);
    by("new-end").onclick = () => {
      by("end").value = newSeed();
      loadPath();
    };
    by("reset").onclick = reset;
    document.querySelectorAll("input[name=axes]").forEach((radio) => radio.addEventListener("change", reset));
    walk(by("grid"), () => Number(by("grid").style.getPropertyValue("--across")));
    walk(by("strip"), () => 1);
    load();
  };

  // -- a picture of the user's own -----------------------------------------------------------------------------------
  let file = null;
  const take = latest(by("drop"), async () => {
    if (!file) return;
    if (file.size > about.largest) throw new Error(`a file may have ${about.largest >> 20} MiB at most`);
    const stem = file.name.replace(/\.\w+$/, "");
    if (about.detects) drawScore(await json("score", {}, file));
    else drawResult(await json("apply", { direction: by("direction").value }, file), stem);
  });
  const drawPair = (source, result, words) => {
    for (const [id, name, address] of [["source", "yours", source], ["result", words, result]]) {
      const image = picture(by(id), address);
      image.decode().then(() => {
        image.nextElementSibling.textContent = `${name}, ${image.naturalWidth} x ${image.naturalHeight}`;
      });
    }
    by("outcome").hidden = false;
  };
  let kept = "";
  const drawResult = (found, stem) => {
    drawPair(found.source, found.result, "result");
    if (kept) URL.revokeObjectURL(kept);
    kept = URL.createObjectURL(new Blob([bytes(found.file)]));
    saves(by("keep"), kept, `${stem}-${fileName()}${found.suffix}`);
  };
  const drawScore = (found) => {
    drawPair(found.source, found.map, "the brighter, the less normal");
    const { low, high, of } = about.detects;
    by("score").textContent = found.score.toPrecision(4);
    by("above").textContent = `less normal than ${(100 * found.above).toFixed(1)}% of ${of.toLocaleString("en")} normal pictures of the run's data`;
    const share = high > low ? Math.min(Math.max((found.score - low) / (high - low), 0), 1) : 0.5;
    const mark = make("i");
    mark.style.left = `${100 * share}%`;
    by("bars").querySelector("i")?.remove();
    by("bars").append(mark);
    by("bars").setAttribute("aria-label", `${by("score").textContent}, ${by("above").textContent}`);
    by("verdict").hidden = false;
  };
  const drawBars = ({ low, high, counts }) => {
    const most = Math.max(...counts);
    by("bars").replaceChildren(...counts.map((count) => {
      const bar = make("span");
      bar.style.height = `${(100 * count) / most}%`;
      return bar;
    }));
    by("low").textContent = low.toPrecision(3);
    by("high").textContent = high.toPrecision(3);
  };

  const startTaking = () => {
    by("takes").hidden = false;
    by("file").accept = about.suffixes.join(",");
    const kinds = about.suffixes.includes(".npy") ? "PNG, JPEG, TIFF, DICOM, .npy" : "PNG, JPEG, TIFF";
    by("kinds").textContent = `${kinds} and others, up to ${about.largest >> 20} MiB; it stays on this machine`;
    if (about.directions.length > 1) {
      options(by("direction"), about.directions, about.directions.map((name) => name.replaceAll("_", " ")));
      by("way").hidden = false;
      by("direction").addEventListener("change", take);
    }
    if (about.detects) drawBars(about.detects);
    by("file").addEventListener("change", () => {
      file = by("file").files[0] || file;
      take();
    });
    const drop = by("drop");
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      window.addEventListener(kind, (event) => {
        event.preventDefault(); // the browser would open the file in place of the page
        drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      });
    }
    window.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files.length) return;
      by("file").files = event.dataTransfer.files;
      file = by("file").files[0];
      take();
    });
    const load = latest(by("data-sheet"), async () => {
      const found = await json("sheet", { seed: by("data-seed").value, num: 12 });
      drawSheet(found, by("data-sheet"), by("data-caption"));
    });
    by("held-out").addEventListener("toggle", () => by("data-sheet").childElementCount || load());
    by("data-seed").addEventListener("change", load);
    by("data-new").onclick = () => {
      by("data-seed").value = newSeed();
      load();
    };
  };

  // -- the run -------------------------------------------------------------------------------------------------------
  const pairs = (list, entries) =>
    list.replaceChildren(...entries.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
  const drawFooter = () => {
    document.title = `${about.name}: gan_lab play`;
    by("what").textContent = [about.name, ...about.summary].join(", ");
    const first = about.scores.filter((score) => score.short);
    const words = first.flatMap(({ short, value }, i) => [`${i ? "  ·  " : ""}${short} `, make("b", { textContent: value })]);
    by("scores").replaceChildren(...(words.length ? words : ["This checkpoint was not scored."]));
    pairs(by("about"), about.about);
    pairs(by("taken"), about.scores.map(({ name, value, how }) => [name, how ? `${value} (${how})` : value]));
  };

  const start = async () => {
    about = await json("about");
    drawFooter();
    for (const element of document.querySelectorAll("[data-if]")) {
      const has = about[element.dataset.if];
      element.hidden = Array.isArray(has) ? !has.length : !has;
    }
    if (about.pictures || about.lines) startMaking();
    if (about.directions.length || about.detects) startTaking();
  };
  start().catch((error) => tell(error.message));
})();
