/** The page: controls in, pictures out. Each panel has one state, and one function that draws it. */

import { TOOLS, Stroke, hole, page } from "./masks.js";
import { describe, download, start } from "./models.js";
import { canvas, meanAndSpread, paint } from "./pictures.js";
import { normal } from "./random.js";

const HANDS = 20; // digits drawn of one label
const COMPLETIONS = 10;
const REACH = 3; // how far a slider moves a code, in standard deviations of the prior
const PATIENCE = 20; // seconds without a byte until the page says so

/**
 * What the panels show now: what went into the models, and the images that came out.
 *
 * For tests and measurements; the page writes here and never reads. After each picture the panel's
 * section also fires the event "drawn".
 */
export const shown = {};

const message = document.getElementById("message");
const alarm = document.getElementById("alarm");
const troubles = new Map(); // panel -> what is wrong with it

let silence; // a clock that waits for the server

/** Say how far the page has come. */
function say(text) {
  clearTimeout(silence);
  if (message.textContent !== text) message.textContent = text; // once is enough for a screen reader
}

/** Say so if nothing else is said for a while. */
function wait() {
  const trouble =
    `The server has stopped answering: nothing has come for ${PATIENCE} seconds. ` +
    "Wait, or reload the page.";
  silence = setTimeout(say, 1000 * PATIENCE, trouble);
}

/** End a sentence, which may have its full stop already. */
function sentence(text) {
  return text.replace(/\.?$/, ".");
}

/** Say what is wrong with a panel, or with "" that nothing is. There is room for the latest one. */
function report(section, trouble) {
  troubles.delete(section);
  if (trouble) troubles.set(section, trouble);
  const text = [...troubles.values()].at(-1) ?? "";
  if (alarm.textContent !== text) alarm.textContent = text; // the same again would be read out again
}

/** Create an element with properties and children; a string among them is text, never markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Add radio buttons, one for each value; the first is checked. */
function addChoices(fieldset, name, values, start) {
  for (const value of values) {
    const input = make("input", { type: "radio", name, value, defaultChecked: value === start });
    fieldset.append(make("label", {}, input, make("span", { textContent: value })));
  }
}

/** Add a slider that shows its name and its value; it reads its value out itself. */
function addSlider(parent, name, label, { min, max, step, value }) {
  const input = make("input", { type: "range", id: name, name, min, max, step, defaultValue: value });
  const caption = make("label", { htmlFor: name, textContent: label });
  parent.append(make("div", {}, caption, make("output", { htmlFor: name, ariaLive: "off" }), input));
}

function showValues(form) {
  for (const output of form.querySelectorAll("output")) {
    output.textContent = form.elements[output.htmlFor].value;
  }
}

/**
 * Return a function that draws a panel as its controls stand now.
 *
 * While one picture is being computed, any number of further calls lead to a single next one, with
 * the latest values: a fast hand builds up no queue.
 */
function redrawing(section, draw) {
  const title = section.querySelector("h2").textContent;
  let busy = false;
  let stale = false;
  return async () => {
    stale = true;
    if (busy) return;
    busy = true;
    section.ariaBusy = true;
    let trouble = "";
    while (stale) {
      stale = false;
      trouble = "";
      // A picture that fails does not keep the next one from being drawn.
      await draw().catch((error) => {
        trouble = `${sentence(error.message)} “${title}” stays as it is.`;
      });
    }
    busy = false;
    section.ariaBusy = false;
    report(section, trouble);
    if (!trouble) section.dispatchEvent(new Event("drawn"));
  };
}

/** Let the form's controls redraw the panel: at once, with no button to send anything. */
function follow(form, redraw) {
  const seed = form.elements.seed;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", redraw);
  form.addEventListener("reset", () => setTimeout(redraw)); // after the controls have gone back
  form.querySelector(".again button").addEventListener("click", () => {
    const next = Math.floor(Number(seed.value)) + 1; // of 1.5, it is 2
    seed.value = next >= 0 && next <= Number(seed.max) ? next : 0;
    redraw();
  });
}

/** Return names as they are, but those that occur twice with a number each. */
function numbered(names) {
  return names.map((name, n) => {
    const before = names.slice(0, n + 1).filter((other) => other === name).length;
    return names.indexOf(name) === names.lastIndexOf(name) ? name : `${name} (${before})`;
  });
}

/** Return the seed, or throw what is wrong with it. */
function seedOf(form) {
  const { seed } = form.elements;
  seed.ariaInvalid = !seed.checkValidity();
  if (!seed.validity.valid) throw new Error(`The seed must be a whole number from 0 to ${seed.max}`);
  return seed.valueAsNumber;
}

/** Set up the first panel: digits of one label, in the hands that the seed decides. */
function digitsPanel(about, draw, onChosen) {
  const section = document.getElementById("digits");
  const form = section.querySelector("form");
  let drawn = [];
  const labels = Array.from({ length: about.labels }, (_, label) => String(label));
  addChoices(form.querySelector(".choices"), "digit", labels, labels[Math.min(7, labels.length - 1)]);
  const names = numbered(about.sliders.map(({ name }) => name));
  about.sliders.forEach(({ dimension }, n) => {
    const place = { min: -REACH, max: REACH, step: 0.1, value: 0 };
    addSlider(form.querySelector(".sliders"), `z${dimension}`, `${names[n]}, z[${dimension}]`, place);
  });
  const buttons = Array.from({ length: HANDS }, (_, hand) => {
    const button = make("button", { type: "button" }, canvas(about.side));
    button.addEventListener("click", () => choose(hand));
    return button;
  });
  section.querySelector(".pictures").append(...buttons);

  function choose(hand) {
    if (!drawn.length) return; // the first picture could not be drawn
    buttons.forEach((button, n) => button.setAttribute("aria-pressed", n === hand));
    onChosen(drawn[hand]);
  }

  const redraw = redrawing(section, async () => {
    showValues(form);
    const label = Number(form.elements.digit.value);
    const z = normal(seedOf(form), HANDS * about.latent_dim);
    for (const { dimension } of about.sliders) {
      const shift = form.elements[`z${dimension}`].valueAsNumber;
      for (let hand = 0; hand < HANDS; hand++) z[hand * about.latent_dim + dimension] += shift;
    }
    const first = drawn.length === 0;
    drawn = await draw(z, label);
    drawn.forEach((image, hand) => {
      paint(buttons[hand].firstChild, image);
      buttons[hand].setAttribute("aria-label", `Digit ${label}, hand ${hand + 1}`);
      buttons[hand].setAttribute("aria-pressed", false); // it is another picture now
    });
    shown.digits = { z, label, images: drawn };
    if (first) choose(0);
  });
  follow(form, redraw);
  return { section, redraw };
}

/** Set up the second panel: one image with a hole and strokes, and ways to fill what is hidden. */
function holesPanel(about, complete) {
  const { side } = about;
  const section = document.getElementById("holes");
  const form = section.querySelector("form");
  const paper = section.querySelector(".page canvas");
  const radii = { inkRadius: about.ink_radius, brushRadius: about.brush_radius };
  let original = new Float32Array(side * side);
  let strokes = [];

  paper.width = paper.height = side;
  addChoices(form.querySelector(".choices"), "tool", TOOLS, "ink");
  const sliders = form.querySelector(".sliders");
  const start = Math.round(side / 3);
  addSlider(sliders, "top", "Hole: top row", { min: 0, max: side - 1, step: 1, value: start });
  addSlider(sliders, "left", "Hole: left column", { min: 0, max: side - 1, step: 1, value: start });
  addSlider(sliders, "size", "Hole: size", { min: 0, max: side, step: 1, value: start + 1 });
  const captions = Array.from({ length: COMPLETIONS }, (_, n) => `${n + 1}`);
  const canvases = [...captions, "mean", "doubt"].map((caption, n) => {
    const picture = canvas(side);
    picture.role = "img";
    picture.ariaLabel = n < COMPLETIONS ? `Completion ${caption}` : caption;
    const text = make("figcaption", { textContent: caption });
    section.querySelector(".pictures").append(make("figure", {}, picture, text));
    return picture;
  });

  const redraw = redrawing(section, async () => {
    showValues(form);
    form.elements.undo.ariaDisabled = strokes.length === 0; // not disabled: that would lose the focus
    const [top, left, size] = ["top", "left", "size"].map((name) => form.elements[name].valueAsNumber);
    const { image, mask } = page(original, hole(side, { top, left, size }), strokes, radii);
    paint(paper, image, mask);
    const eps = normal(seedOf(form), COMPLETIONS * about.latent_dim);
    const images = await complete(eps, image, mask);
    [...images, ...meanAndSpread(images)].forEach((each, n) => paint(canvases[n], each));
    shown.holes = { eps, image, mask, images, strokes: strokes.map(({ tool, points }) => [tool, points]) };
  });
  follow(form, redraw);
  form.addEventListener("reset", () => (strokes = []));
  form.elements["hide-all"].addEventListener("click", () => {
    strokes = [];
    Object.entries({ top: 0, left: 0, size: side }).forEach(([name, value]) => {
      form.elements[name].value = value;
    });
    redraw();
  });
  form.elements.undo.addEventListener("click", undo);
  draws(paper, side, { strokeFrom, undo, redraw });

  /** Begin a stroke; the page keeps it from now on, as it grows. */
  function strokeFrom(row, column) {
    const stroke = new Stroke(side, form.elements.tool.value, row, column);
    strokes.push(stroke);
    return stroke;
  }

  function undo() {
    if (strokes.pop()) redraw();
  }

  return {
    section,
    redraw,
    /** Lay another image on the page, without strokes; the hole stays where it is. */
    lay(image) {
      original = image;
      strokes = [];
      redraw();
    },
  };
}

/** Let mouse, pen, finger and keys draw on the page. */
function draws(paper, side, { strokeFrom, undo, redraw }) {
  let stroke = null;

  // Pixel 0 reaches from 0 to 1, its centre lies in between.
  function point(event) {
    const box = paper.getBoundingClientRect();
    const row = ((event.clientY - box.top) / box.height) * side - 0.5;
    const column = ((event.clientX - box.left) / box.width) * side - 0.5;
    return [row, column];
  }
  paper.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || stroke) return;
    paper.setPointerCapture(event.pointerId);
    stroke = strokeFrom(...point(event));
    redraw();
  });
  paper.addEventListener("pointermove", (event) => {
    if (!stroke || !paper.hasPointerCapture(event.pointerId)) return;
    stroke.extend(...point(event));
    redraw();
  });
  paper.addEventListener("lostpointercapture", () => (stroke = null));

  const pen = paper.nextElementSibling; // the style sheet shows it while keys have the focus here
  const at = { row: Math.floor(side / 2), column: Math.floor(side / 2) };
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  function showPen() {
    pen.style.top = `${(100 * (at.row + 0.5)) / side}%`;
    pen.style.left = `${(100 * (at.column + 0.5)) / side}%`;
  }
  showPen();
  paper.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !stroke) undo();
    const step = steps[event.key];
    if (!step && event.key !== " ") return;
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own: alt and left is "back"
    event.preventDefault(); // the page shall not scroll
    const dot = step && !event.shiftKey ? null : strokeFrom(at.row, at.column);
    if (step) {
      at.row = Math.min(side - 1, Math.max(0, at.row + step[0]));
      at.column = Math.min(side - 1, Math.max(0, at.column + step[1]));
      dot?.extend(at.row, at.column);
    }
    showPen();
    if (dot) redraw();
  });
}

/** Fetch and start the models, build the panels, draw both, and let the reader in. */
async function open() {
  wait();
  const about = await describe();
  const size = Math.round(about.bytes / 1e6);
  let bytes = 0;
  const files = await download(about, (more) => {
    if (troubles.size) return; // another of the files is missing
    bytes += more; // a server may pack what it sends: what it unpacks to is more than the page's size
    say(`Loading: ${Math.min(size, Math.round(bytes / 1e6))} of ${size} MB …`);
    wait();
  });
  say("Starting the networks …");
  const { draw, complete } = await start(about, files);
  const holes = holesPanel(about.holes, complete);
  const digits = digitsPanel(about.digits, draw, holes.lay);
  await digits.redraw();
  for (const { section } of [digits, holes]) section.inert = false;
  const footer = document.getElementById("about");
  footer.textContent =
    `The networks are the checkpoints ${about.digits.checkpoint} and ${about.holes.checkpoint} of the notebook ` +
    `series, trained on ${about.digits.provenance.data.name.toUpperCase()}. Nothing that you do here leaves this page.`;
  if (about.home) footer.append(" ", make("a", { href: about.home, textContent: "The notebooks explain how." }));
  say("Ready.");
}

open().catch((error) => {
  say("");
  report(document.body, sentence(`The page could not start: ${error.message}`));
});
