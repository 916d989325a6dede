"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const all = report.models, models = all.filter((model) => model.heads.length > 0);
  const byId = (id) => document.getElementById(id);

  // worst: which end of the measure is worth looking at first.
  const high = (x) => x, low = (x) => -x, far = (x) => Math.abs(x);
  const difference = (linear, softmax) => (head) => head[linear] - head[softmax];
  const measures = [
    {name: "kl", label: "KL(softmax ‖ linear), nats", worst: high, help: "0 where all weights are equal."},
    {name: "output_error", label: "output error", worst: high, help: "|y − ŷ|² / |y|² of the head's output."},
    {name: "entropy_difference", label: "entropy, linear − softmax, nats", worst: far, diverging: true,
     value: difference("entropy_linear", "entropy_softmax"), help: "Above 0: less spiky than softmax."},
    {name: "entropy_softmax", label: "entropy, softmax, nats", worst: low, help: "Low: spiky."},
    {name: "entropy_linear", label: "entropy, linear, nats", worst: high, help: "Low: spiky."},
    {name: "monotonicity", label: "monotonicity", worst: low, help: "Spearman correlation of weight with q·k inside rows; softmax: 1."},
    {name: "inverted_pairs", label: "inverted pairs", worst: high, help: "Share of a row's pairs of keys that are ordered against q·k."},
    {name: "effective_rank", label: "effective rank of the state", worst: low, help: "From 1 to the smaller side of the state."},
    {name: "log_denominator", label: "log of the denominator, nats", worst: low, help: "What weights are divided by."},
    {name: "linear_share", label: "share of the linear part", worst: low, help: "Of a hybrid: weight that is not in its window."},
    ...[16, 64, 256].map((n) => ({name: `mass_${n}_difference`, label: `mass within ${n} tokens, linear − softmax`, worst: far,
      diverging: true, value: difference(`mass_${n}_linear`, `mass_${n}_softmax`), help: "Above 0: nearer than softmax looks."})),
    ...[16, 64, 256].map((n) => ({name: `mass_${n}_softmax`, label: `mass within ${n} tokens, softmax`, worst: high,
      help: "Share of the weight on so many last tokens."})),
  ];
  const valueOf = (measure, head) => (measure.value ? measure.value(head) : head[measure.name]);
  const has = (x) => typeof x === "number" && Number.isFinite(x);
  const digits = (x) => (has(x) ? (x !== 0 && Math.abs(x) < 1e-3 ? x.toExponential(1) : String(Number(x.toPrecision(4)))) : "–");

  const state = {measure: measures[0], model: 0, layer: 0, head: 0, difference: false};
  const headsOfModel = (i) => models[i].heads;
  const numbers = (field) => [...new Set(models.flatMap((model) => model.heads.map((head) => head[field])))].sort((a, b) => a - b);
  const indexOfHead = (model, layer, head) => headsOfModel(model).findIndex((h) => h.layer === layer && h.head === head);

  // Elements -------------------------------------------------------------------------------------------------------------------

  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function fill(parent, children) {
    parent.replaceChildren(...children);
  }

  function row(cells, tag = "td", attributes = {}) {
    const made = element("tr", undefined, attributes);
    made.append(...cells.map((cell) => element(tag, cell)));
    return made;
  }

  function options(select, names, chosen) {
    fill(select, names.map(([value, text]) => element("option", text, {value})));
    select.value = chosen;
  }

  // Charts ---------------------------------------------------------------------------------------------------------------------

  const colours = {softmax: "#5d6670", linear: "#d1570b"};
  const config = {background: "transparent", view: {stroke: null}, axis: {labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal"},
                  legend: {orient: "top", titleFontSize: 11, labelFontSize: 11}, font: "system-ui, DejaVu Sans, sans-serif"};

  async function draw(place, spec) {
    const target = typeof place === "string" ? byId(place) : place;
    const {view} = await vegaEmbed(target, {$schema: "https://vega.github.io/schema/vega-lite/v6.json", config, ...spec},
                                   {actions: false, renderer: "canvas"});
    return view;
  }

  function lines(place, values, x, y, series, extra = {}) {
    return draw(place, {
      data: {values}, width: "container", height: 220, autosize: {type: "fit", contains: "padding"},
      mark: {type: "line", point: {size: 25}, tooltip: true},
      encoding: {
        x: {type: "quantitative", ...x}, y: {type: "quantitative", ...y},
        color: {field: "series", type: "nominal", title: null, sort: series, scale: extra.scale},
        tooltip: [{field: "series", title: "of"}, {field: x.field, title: x.title, format: ".4~g"},
                  {field: y.field, title: y.title, format: ".4~g"}],
      },
    });
  }

  const heatViews = [];

  async function drawHeatMaps() {
    const measure = state.measure, compared = state.difference && models.length > 1;
    const value = (i, head) => {
      const own = valueOf(measure, head);
      if (!compared || i === 0) return own;
      const first = headsOfModel(0)[indexOfHead(0, head.layer, head.head)];
      return first === undefined ? null : own - valueOf(measure, first);
    };
    const data = models.map((model, i) => headsOfModel(i).map((head) => (
      {layer: head.layer, head: head.head, value: value(i, head), model: i})).filter((cell) => has(cell.value)));
    const extent = (lists) => {
      const all = lists.flat().map((cell) => cell.value);
      return all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
    };
    // All places are there before the first is drawn, or its width would be another one.
    const places = models.map(() => element("div", undefined, {class: "chart"}));
    fill(byId("heat-maps"), models.map((model, i) => {
      const figure = element("figure");
      figure.append(element("figcaption", compared && i > 0 ? `${model.name} − ${models[0].name}` : model.name), places[i]);
      return figure;
    }));
    heatViews.length = 0;
    for (const i of models.keys()) {
      const isDifference = compared && i > 0, diverging = isDifference || measure.diverging;
      let domain = isDifference ? extent(data.slice(1)) : compared ? extent([data[0]]) : extent(data);
      if (diverging) {
        const most = Math.max(...domain.map(Math.abs), 1e-9);
        domain = [-most, most];
      }
      const view = await draw(places[i], {
        data: {values: data[i]}, width: "container", height: 13 * numbers("layer").length, autosize: {type: "fit-x", contains: "padding"},
        params: [{name: "chosenLayer", value: state.layer}, {name: "chosenHead", value: state.head}],
        encoding: {x: {field: "head", type: "ordinal", title: "head", axis: {labelAngle: 0}}, y: {field: "layer", type: "ordinal", title: "layer"}},
        layer: [
          {mark: {type: "rect", cursor: "pointer"},
           encoding: {
             color: {field: "value", type: "quantitative", title: measure.label, scale: {domain, scheme: diverging ? "purpleorange" : "viridis"}},
             tooltip: [{field: "layer"}, {field: "head"}, {field: "value", title: measure.label, format: ".4~g"}]}},
          {transform: [{filter: "datum.layer == chosenLayer && datum.head == chosenHead"}],
           mark: {type: "rect", filled: false, stroke: "#d62728", strokeWidth: 2.5}},
        ],
      });
      view.addEventListener("click", (event, item) => {
        if (item && item.datum && has(item.datum.layer)) choose({model: i, layer: item.datum.layer, head: item.datum.head});
      });
      heatViews.push(view);
    }
  }

  function drawByLayer() {
    const measure = state.measure, values = [];
    models.forEach((model, i) => {
      const layers = new Map();
      for (const head of headsOfModel(i)) {
        const value = valueOf(measure, head);
        if (!has(value)) continue;
        layers.set(head.layer, [...(layers.get(head.layer) ?? []), value]);
      }
      for (const [layer, all] of layers) values.push({layer, mean: all.reduce((a, b) => a + b, 0) / all.length, series: model.name});
    });
    return lines("by-layer", values, {field: "layer", title: "layer", axis: {tickMinStep: 1}, scale: {nice: false}},
                 {field: "mean", title: measure.label, scale: {zero: false}}, models.map((model) => model.name));
  }

  // Maps are stored as sign(w)·round(127·√|w|), rows one after the other, of causal ones only the keys up to the row.
  function cells(maps, head) {
    const bytes = (text) => Int8Array.from(atob(text), (c) => c.charCodeAt(0));
    const weight = (byte) => Math.sign(byte) * (byte / 127) ** 2;
    const softmax = bytes(head.softmax), linear = bytes(head.linear), result = [], n = maps.labels.length;
    let at = 0;
    for (let query = 0; query < n; ++query) {
      for (let key = 0; key < (maps.causal ? query + 1 : n); ++key, ++at) {
        result.push({query, key, query_token: maps.labels[query], key_token: maps.labels[key], softmax: weight(softmax[at]), linear: weight(linear[at])});
      }
    }
    return result;
  }

  function drawMap(place, values, labels, field) {
    const axis = (title) => ({title, labelExpr: "labels[datum.value]", labelLimit: 70, labelFontSize: 9, ticks: false, domain: false});
    return draw(place, {
      data: {values}, width: {step: 11}, height: {step: 11}, params: [{name: "labels", value: labels}],
      mark: {type: "rect"},
      encoding: {
        x: {field: "key", type: "ordinal", axis: {...axis(null), labelAngle: -90}},
        y: {field: "query", type: "ordinal", axis: axis(null)},
        color: {field, type: "quantitative", title: "weight", scale: {type: "sqrt", domain: [0, 1], clamp: true, scheme: "blues"}},
        tooltip: [{field: "query_token", title: "query"}, {field: "key_token", title: "key"}, {field: "softmax", format: ".3~f"},
                  {field: "linear", format: ".3~f"}],
      },
    });
  }

  async function drawHead() {
    const model = models[state.model], index = indexOfHead(state.model, state.layer, state.head), head = headsOfModel(state.model)[index];
    byId("head-title").textContent = `Layer ${state.layer}, head ${state.head}`;
    byId("model").value = state.model;
    byId("layer").value = state.layer;
    byId("head-number").value = state.head;
    const scale = {domain: ["softmax", "linear"], range: [colours.softmax, colours.linear]};
    fill(byId("head-measures"), [
      row(["", ...models.map((other) => other.name)], "th"),
      ...measures.map((measure) => row([measure.label, ...models.map((_, i) => {
        const found = headsOfModel(i)[indexOfHead(i, state.layer, state.head)];
        return digits(found && valueOf(measure, found));
      })]))]);
    const curve = [];
    head.curve.keys.forEach((keys, bin) => {
      for (const series of ["softmax", "linear"]) {
        const weight = head.curve[series][bin];
        if (keys > 0 && weight > 1e-8) curve.push({below: (bin + 0.5) * head.curve.step, weight, series});
      }
    });
    const drawn = [lines("curve", curve, {field: "below", title: "nats below the row's largest score", sort: "descending"},
                         {field: "weight", title: "mean weight", scale: {type: "log"}, axis: {format: ".0e", tickCount: 6}}, ["softmax", "linear"], {scale})];
    const maps = model.maps;
    byId("maps").hidden = byId("entropy").parentElement.hidden = !maps;
    if (maps) {
      const map = maps.heads[index], values = cells(maps, map);
      const entropy = ["softmax", "linear"].flatMap((series) =>
        map[`entropy_${series}`].map((nats, query) => ({query, nats, series})));
      byId("map-linear-title").textContent = model.name;
      drawn.push(lines("entropy", entropy, {field: "query", title: "row", axis: {tickMinStep: 1}, scale: {nice: false}}, {field: "nats", title: "entropy, nats"}, ["softmax", "linear"], {scale}),
                 drawMap("map-softmax", values, maps.labels, "softmax"), drawMap("map-linear", values, maps.labels, "linear"));
    }
    await Promise.all(drawn);
  }

  function drawCosts() {
    const points = (field, scale) => all.flatMap((model) => (model.contexts ?? []).map((cost) => (
      {length: cost.length, y: cost[field] * scale, series: model.name})));
    const names = all.filter((model) => (model.contexts ?? []).length > 0).map((model) => model.name);
    const axis = {field: "length", title: "context, tokens", scale: {type: "log", base: 2, nice: false}};
    return Promise.all([
      lines("speed", points("tokens_per_second", 1), axis, {field: "y", title: "tokens a second"}, names),
      lines("memory", points("state_bytes", 1e-6), axis, {field: "y", title: "MB", scale: {type: "log"}}, names)]);
  }

  function drawKept() {
    const values = all.filter((model) => model.kept_layers).flatMap((model) => {
      const kept = model.kept_layers, point = (what, series) => ({bytes, loss}) => ({MB: bytes / 1e6, perplexity: Math.exp(loss), what, series});
      return [point("none", model.name)(kept), ...kept.changes.map((change) =>
                point(change.window ? `a window of ${change.window} in layer ${change.what}` : `+ layer ${change.what.replace(".", ", head ")}`, model.name)(change)),
              ...kept.uniform.map((choice) => point(choice.layers.join(", "), `${model.name}: ${choice.name}`)(choice))];
    });
    return draw("kept-layers", {
      data: {values}, width: "container", height: 240, autosize: {type: "fit", contains: "padding"},
      mark: {type: "line", point: {size: 50}},
      encoding: {
        x: {field: "MB", type: "quantitative", title: "MB of keys, values and states"},
        y: {field: "perplexity", type: "quantitative", scale: {zero: false}},
        color: {field: "series", type: "nominal", title: null, sort: null},
        tooltip: [{field: "series", title: "of"}, {field: "what", title: "layers"}, {field: "MB", format: ".4~g"}, {field: "perplexity", format: ".4~g"}],
      },
    });
  }

  // Text -----------------------------------------------------------------------------------------------------------------------

  // A cause's heads, the worst first, each of which can be chosen.
  function verdictItem(model, cause, verdicts) {
    const item = element("li");
    item.append(element("strong", `${cause}: ${verdicts.length} of ${model.heads.length} heads`), ` – ${verdicts[0].remedy}`);
    const list = element("ul", undefined, {class: "figures"});
    list.append(...verdicts.slice(0, 4).map((verdict) => {
      const line = element("li"), button = element("button", `layer ${verdict.layer}, head ${verdict.head}`, {type: "button"});
      button.addEventListener("click", () => choose({model: models.indexOf(model), layer: verdict.layer, head: verdict.head}));
      line.append(button, ` ${verdict.seen}; KL ${digits(verdict.kl)}`);
      return line;
    }));
    item.append(list);
    return item;
  }

  function writeVerdicts() {
    fill(byId("verdict-lists"), models.filter((model) => model.summary).flatMap((model) => {
      const causes = new Map();
      for (const verdict of model.verdicts) causes.set(verdict.cause, [...(causes.get(verdict.cause) ?? []), verdict]);
      const list = element("ul");
      list.append(...[...causes].map(([cause, verdicts]) => verdictItem(model, cause, verdicts)));
      return [element("h3", model.name), element("p", model.summary[0]), list];
    }));
  }

  function writeMeans() {
    const scores = [...new Set(all.flatMap((model) => Object.keys(model.scores ?? {})))];
    const shown = measures.filter((measure) => !measure.name.startsWith("mass_"));
    fill(byId("means"), [
      row(["mean over heads", ...all.map((model) => model.name)], "th"),
      ...scores.map((score) => row([score, ...all.map((model) => digits((model.scores ?? {})[score]))])),
      ...shown.map((measure) => row([measure.label, ...all.map((model) => digits(model.heads.length > 0 ? valueOf(measure, model.means) : null))]))]);
  }

  function writeWorst() {
    const measure = state.measure, rows = headsOfModel(state.model).map((head) => ({head, value: valueOf(measure, head)}))
      .filter((entry) => has(entry.value)).sort((a, b) => measure.worst(b.value) - measure.worst(a.value)).slice(0, 20);
    fill(byId("worst"), [
      element("caption", `Worst of ${models[state.model].name}`),
      row(["layer", "head", measure.label], "th"),
      ...rows.map(({head, value}) => {
        const chosen = head.layer === state.layer && head.head === state.head;
        const made = row([head.layer, head.head, digits(value)], "td", {"data-head": `${head.layer} ${head.head}`, tabindex: 0, class: chosen ? "chosen" : ""});
        const take = () => choose({layer: head.layer, head: head.head});
        made.addEventListener("click", take);
        made.addEventListener("keydown", (event) => { if (event.key === "Enter") take(); });
        return made;
      })]);
  }

  function writeSamples() {
    const prompts = [...new Set(all.flatMap((model) => (model.samples ?? []).map((sample) => sample.prompt)))];
    fill(byId("sample-list"), prompts.flatMap((prompt) => all.flatMap((model) => {
      const sample = (model.samples ?? []).find((one) => one.prompt === prompt);
      if (!sample) return [];
      const text = element("div", undefined, {class: "sample"});
      text.append(element("span", prompt, {class: "prompt"}), element("span", sample.text));
      return [element("h3", model.name), text];
    })));
  }

  // What a user does -----------------------------------------------------------------------------------------------------------

  // One after the other: two drawings at a time in one place would both stay there. The mark tells tests when all is drawn.
  let waiting = 0, last = Promise.resolve();
  function inTurn(work) {
    ++waiting;
    document.body.dataset.drawn = "no";
    last = last.then(work).finally(() => {
      if (--waiting === 0) document.body.dataset.drawn = "yes";
    });
    return last;
  }

  const choose = (chosen) => inTurn(() => showHead(chosen));
  const chooseMeasure = (name) => inTurn(() => showMeasure(name));

  async function showHead(chosen) {
    Object.assign(state, chosen);
    const heads = headsOfModel(state.model);
    if (indexOfHead(state.model, state.layer, state.head) < 0) Object.assign(state, {layer: heads[0].layer, head: heads[0].head});
    writeWorst();
    await Promise.all([drawHead(), ...heatViews.map((view) => view.signal("chosenLayer", state.layer).signal("chosenHead", state.head).runAsync())]);
  }

  async function showMeasure(name) {
    state.measure = measures.find((measure) => measure.name === name);
    byId("measure-help").textContent = state.measure.help;
    writeWorst();
    await Promise.all([drawHeatMaps(), drawByLayer()]);
  }

  byId("title").textContent = report.title;
  byId("comparison-title").textContent = all.length > 1 ? "Comparison" : "Means";
  byId("subtitle").textContent = report.subtitle;
  document.title = report.title;
  options(byId("measure"), measures.map((measure) => [measure.name, measure.label]), state.measure.name);
  options(byId("model"), models.map((model, i) => [i, model.name]), 0);
  options(byId("layer"), numbers("layer").map((n) => [n, n]), 0);
  options(byId("head-number"), numbers("head").map((n) => [n, n]), 0);
  byId("measure").addEventListener("change", (event) => chooseMeasure(event.target.value));
  byId("model").addEventListener("change", (event) => choose({model: Number(event.target.value)}));
  byId("layer").addEventListener("change", (event) => choose({layer: Number(event.target.value)}));
  byId("head-number").addEventListener("change", (event) => choose({head: Number(event.target.value)}));
  byId("difference").addEventListener("change", (event) => {
    state.difference = event.target.checked;
    inTurn(drawHeatMaps);
  });
  byId("difference").parentElement.hidden = models.length < 2;
  byId("costs").hidden = !all.some((model) => (model.contexts ?? []).length > 0);
  byId("kept").hidden = !all.some((model) => model.kept_layers);
  byId("samples").hidden = !all.some((model) => (model.samples ?? []).length > 0);

  writeVerdicts();
  writeMeans();
  writeSamples();
  state.model = Math.max(models.findLastIndex((model) => model.summary), 0);
  const worst = headsOfModel(state.model).reduce((a, b) => (b.kl > a.kl ? b : a));
  Object.assign(state, {layer: worst.layer, head: worst.head});
  chooseMeasure(state.measure.name);
  choose({});
  if (!byId("kept").hidden) inTurn(drawKept);
  if (!byId("costs").hidden) inTurn(drawCosts);
})();
