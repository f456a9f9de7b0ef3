// The photo, its damage and its result on a canvas. `props.value` is JSON from the server, see `canvas.shown`; strokes go
// to the server by `server.draw`, one request at a time. Coordinates of strokes are pixels of the photo.
const $ = (which) => element.querySelector(which);
const stage = $(".bb-stage"), canvas = $("canvas"), context = canvas.getContext("2d");
const brush = $("[data-brush]"), view = $("[data-view]"), split = $("[data-split]"), said = $("[data-said]");
const BLUE = "rgb(0, 110, 255)", ORANGE = "rgb(255, 80, 0)", FAINT = 0.55, NEAR = 14;

let photo = null;        // what the server said last
let before = null, found = null, after = null;  // image, image, canvas
let overlay = null;      // canvas: what was found, and the strokes
let strokes = [], undone = [], inResult = 0;    // inResult: how many of the strokes the result has
let erasing = false, live = null, held = false, blinking = false;
let zoom = 1, left = 0, top_ = 0;  // CSS pixels a pixel of the photo, and where its corner is
let pointer = null, pan = null, pinch = null, spaced = false, dragsDivider = false;
const touches = new Map();
const unsent = new Map();  // by number of the photo: what the server has not answered yet
let sending = false;

// ---- what is shown

const shows = () => held ? "original" : !after ? "before" : view.value == "blink" ? (blinking ? "before" : "after") : view.value;
const wide = () => shows() == "panes" ? canvas.clientWidth / 2 : canvas.clientWidth;

function layer(width, height) {
  const made = document.createElement("canvas");
  made.width = width; made.height = height;
  return made;
}

function picture(url) {
  return new Promise((done) => {
    if (!url) return done(null);
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => done(null);
    image.src = url;
  });
}

function line(onto, stroke, from) {
  const scale = overlay.width / photo.width;
  const pen = onto.getContext("2d"), points = stroke.points.slice(Math.max(0, from));
  pen.globalCompositeOperation = stroke.erases ? "destination-out" : "source-over";
  pen.strokeStyle = pen.fillStyle = BLUE;
  pen.lineWidth = Math.max(1, stroke.width * scale);
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(points[0][0] * scale, points[0][1] * scale);
  for (const [x, y] of points) pen.lineTo(x * scale, y * scale);
  pen.stroke();
  pen.globalCompositeOperation = "source-over";
}

function redrawOverlay() {
  const pen = overlay.getContext("2d"), result = shows() != "before" && shows() != "original" && after;
  pen.clearRect(0, 0, overlay.width, overlay.height);
  if (found && !result) pen.drawImage(found, 0, 0, overlay.width, overlay.height);
  for (const stroke of strokes.slice(result ? inResult : 0)) if (!result || !stroke.erases) line(overlay, stroke, 0);
  draw();
}

function put(image, clip) {  // clip: [x, y, width, height] in CSS pixels
  context.save();
  context.beginPath();
  context.rect(...clip);
  context.clip();
  context.drawImage(image, left + clip[4], top_, photo.width * zoom, photo.height * zoom);
  context.restore();
}

let asked = false;
function draw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; paint(); });
}

function paint() {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if (!photo || !before) return;
  context.imageSmoothingEnabled = zoom * photo.width / before.naturalWidth < 3;
  const now = shows(), whole = [0, 0, width, height, 0];
  if (now == "slider") {
    const at = width * split.value / 100;
    put(before, [0, 0, at, height, 0]);
    put(after, [at, 0, width - at, height, 0]);
    context.fillStyle = "white";
    context.strokeStyle = "black";
    context.fillRect(at - 1.5, 0, 3, height);
    context.strokeRect(at - 2, -1, 4, height + 2);
  } else if (now == "panes") {
    put(before, [0, 0, width / 2, height, 0]);
    put(after, [width / 2, 0, width / 2, height, width / 2]);
  } else {
    put(now == "after" ? after : before, whole);
  }
  if (now != "original") {
    context.globalAlpha = FAINT;
    put(overlay, now == "panes" ? [width / 2, 0, width / 2, height, width / 2] : whole);
    context.globalAlpha = 1;
  }
  context.lineWidth = 2;
  if (now == "before" || now == "original") for (const corners of photo.areas) {
    context.setLineDash([8, 6]);
    context.strokeStyle = "white";
    context.beginPath();
    for (const [x, y] of corners) context.lineTo(left + x * zoom, top_ + y * zoom);
    context.closePath();
    context.stroke();
    context.setLineDash([]);
  }
  if (pointer && !pan && !dragsDivider && now != "original") {
    context.beginPath();
    context.arc(pointer[0], pointer[1], brush.value / 2, 0, 7);
    context.lineWidth = 1;
    context.strokeStyle = "black";
    context.stroke();
    context.beginPath();
    context.arc(pointer[0], pointer[1], brush.value / 2 + 1, 0, 7);
    context.strokeStyle = "white";
    context.stroke();
  }
}

function fit() {
  zoom = Math.min(wide() / photo.width, canvas.clientHeight / photo.height);
  left = (wide() - photo.width * zoom) / 2;
  top_ = (canvas.clientHeight - photo.height * zoom) / 2;
  draw();
}

function resize() {  // as large as the window allows, in the shape of the photo
  if (!photo || !stage.clientWidth) return;
  const phone = window.innerWidth < 700;
  const above = stage.getBoundingClientRect().top + window.scrollY;
  const room = phone ? window.innerHeight * 0.6 : window.innerHeight - above - 160;
  const height = Math.max(160, Math.min(room, stage.clientWidth * photo.height / photo.width));
  stage.style.height = `${Math.round(height)}px`;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(stage.clientWidth * ratio);
  canvas.height = Math.round(height * ratio);
  fit();
}

function zoomTo(wanted, x, y) {
  const least = Math.min(wide() / photo.width, canvas.clientHeight / photo.height);
  const next = Math.max(least, Math.min(wanted, Math.max(8, least * 8)));
  left = x - (x - left) * next / zoom;
  top_ = y - (y - top_) * next / zoom;
  zoom = next;
  hold();
}

function hold() {  // the photo stays in sight
  const inside = (at, size, room) => size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at));
  left = inside(left, photo.width * zoom, wide());
  top_ = inside(top_, photo.height * zoom, canvas.clientHeight);
  draw();
}

function buttons() {
  const press = (name, on) => $(`[data-do=${name}]`).setAttribute("aria-pressed", on);
  press("paint", !erasing);
  press("erase", erasing);
  $("[data-do=undo]").disabled = !strokes.length;
  $("[data-do=redo]").disabled = !undone.length;
  view.disabled = $("[data-do=original]").disabled = !after;
  if (!after) view.value = "before";
  $("[data-divider]").hidden = view.value != "slider";
}

function show(which) {
  view.value = which;
  buttons();
  if (photo) { hold(); redrawOverlay(); }
}

// ---- strokes

function place(x, y) {
  const shift = shows() == "panes" && x > wide() ? wide() : 0;
  const exact = (value) => Math.round(value * 100) / 100;
  return [exact((x - shift - left) / zoom), exact((y - top_) / zoom)];
}

function begin(x, y) {
  if (erasing && shows() != "before") show("before");  // what is erased is seen there only
  live = { erases: erasing, width: brush.value / zoom, points: [place(x, y)] };
  line(overlay, live, 0);
  draw();
}

function go(x, y) {
  live.points.push(place(x, y));
  line(overlay, live, live.points.length - 2);
  draw();
}

function end() {
  strokes.push(live);
  live = null;
  undone = [];
  send();
}

function undo() {
  if (!strokes.length) return;
  undone.push(strokes.pop());
  redrawOverlay();
  send();
}

function redo() {
  if (!undone.length) return;
  strokes.push(undone.pop());
  redrawOverlay();
  send();
}

async function send() {
  buttons();
  if (after && strokes.length > inResult && !strokes[strokes.length - 1].erases) said.textContent = "Mending ...";
  unsent.delete(photo.photo);  // to be the last, which is sent first: what is on display
  unsent.set(photo.photo, { desk: photo.desk, photo: photo.photo, strokes: [...strokes] });
  if (sending) return;
  sending = true;
  try {
    while (unsent.size) {
      const [number, one] = [...unsent].pop();
      const answer = await server.draw(one);
      if (unsent.get(number) === one) unsent.delete(number);
      const images = await Promise.all(answer.patches.map(({ url }) => picture(url)));
      if (photo?.photo != number) continue;  // another one is shown by now
      if (after) answer.patches.forEach(({ box }, at) => {
        const scale = after.width / photo.width;
        if (images[at]) after.getContext("2d").drawImage(images[at], ...box.map((value) => value * scale));
      });
      inResult = answer.done;
      said.textContent = answer.said;
    }
  } catch (error) {
    said.textContent = "The server does not answer: load the page again";
  }
  sending = false;
  if (photo && !live) redrawOverlay();
  trigger("drawn");
}

// ---- what the server shows

async function take() {
  const told = props.value ? JSON.parse(props.value) : null;
  if (!told || !told.photo) { photo = null; said.textContent = ""; draw(); return; }
  const same = photo && photo.desk == told.desk && photo.photo == told.photo;
  photo = told;
  const [one, two, three] = await Promise.all([told.before, told.found, told.after].map(picture));
  if (photo !== told) return;
  before = one;
  found = two;
  after = three && layer(three.naturalWidth, three.naturalHeight);
  if (after) after.getContext("2d").drawImage(three, 0, 0);
  overlay = layer(one.naturalWidth, one.naturalHeight);
  if (!same || !live) strokes = [...(unsent.get(told.photo) ?? told).strokes];  // what is on its way is newer
  inResult = told.done;
  if (!same) { undone = []; said.textContent = ""; }
  canvas.setAttribute("aria-label", told.label);
  canvas.dataset.photo = told.photo;
  if (told.view) view.value = told.view;
  buttons();
  if (same && canvas.height > 160) hold(); else resize();
  redrawOverlay();
}

// ---- mouse, fingers, keys

const at = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const divider = () => canvas.clientWidth * split.value / 100;

canvas.addEventListener("pointerdown", (event) => {
  if (!photo || !before) return;
  canvas.setPointerCapture(event.pointerId);
  canvas.focus({ preventScroll: true });
  const [x, y] = at(event);
  pointer = event.pointerType == "touch" ? null : [x, y];
  touches.set(event.pointerId, [x, y]);
  if (touches.size == 2) {  // two fingers: no stroke, but zoom and pan
    live = null;
    redrawOverlay();
    pinch = fingers();
  } else if (event.button == 1 || event.button == 2 || spaced) {
    pan = [x, y];
  } else if (shows() == "slider" && Math.abs(x - divider()) < NEAR) {
    dragsDivider = true;
  } else if (touches.size == 1 && shows() != "original") {
    begin(x, y);
  }
  event.preventDefault();
});

const fingers = () => {
  const [[x0, y0], [x1, y1]] = [...touches.values()];
  return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, apart: Math.hypot(x1 - x0, y1 - y0) || 1 };
};

canvas.addEventListener("pointermove", (event) => {
  if (!photo) return;
  const [x, y] = at(event);
  if (event.pointerType != "touch") pointer = [x, y];
  if (touches.has(event.pointerId)) touches.set(event.pointerId, [x, y]);
  if (pinch && touches.size == 2) {
    const now = fingers();
    left += now.x - pinch.x;
    top_ += now.y - pinch.y;
    zoomTo(zoom * now.apart / pinch.apart, now.x, now.y);
    pinch = now;
  } else if (pan) {
    left += x - pan[0];
    top_ += y - pan[1];
    pan = [x, y];
    hold();
  } else if (dragsDivider) {
    split.value = 100 * x / canvas.clientWidth;
  } else if (live) {
    for (const one of event.getCoalescedEvents?.() ?? [event]) go(...at(one));
  }
  canvas.style.cursor = pan || spaced ? "grab" : shows() == "slider" && Math.abs(x - divider()) < NEAR ? "ew-resize" : "none";
  draw();
});

function lift(event) {
  touches.delete(event.pointerId);
  if (touches.size < 2) pinch = null;
  pan = null;
  dragsDivider = false;
  if (live) end();
  draw();
}
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", (event) => { live = null; lift(event); if (photo) redrawOverlay(); });
canvas.addEventListener("pointerleave", () => { pointer = null; draw(); });
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  if (!photo) return;
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) zoomTo(zoom * Math.exp(-event.deltaY / 300), ...at(event));
  else size(event.deltaY < 0 ? 2 : -2);
}, { passive: false });

function size(by) {
  brush.value = Number(brush.value) + by;
  draw();
}

function original(on) {
  if (held == on || !photo) return;
  held = on;
  draw();
}

const middle = () => [wide() / 2, canvas.clientHeight / 2];
const deeds = {
  paint: () => { erasing = false; buttons(); },
  erase: () => { erasing = true; if (view.value != "before") show("before"); buttons(); },
  undo, redo,
  out: () => zoomTo(zoom / 1.4, ...middle()),
  in: () => zoomTo(zoom * 1.4, ...middle()),
  fit,
  original: () => {},
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button && photo) deeds[button.dataset.do]();
});
for (const [name, on] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false], ["blur", false]])
  $("[data-do=original]").addEventListener(name, () => original(on));
view.addEventListener("change", () => show(view.value));
split.addEventListener("input", draw);
brush.addEventListener("input", draw);

const keys = { b: "paint", e: "erase", "+": "in", "=": "in", "-": "out", 0: "fit" };
const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
document.addEventListener("keydown", (event) => {
  const on = document.activeElement, ours = element.contains(on);
  if (!photo || !(ours || on == document.body)) return;  // typed elsewhere
  const key = event.key.length == 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (key == "z") (event.shiftKey ? redo : undo)();
    else if (key == "y") redo();
    else return;
  } else if (event.altKey) return;
  else if (key == "[" || key == "]") size(key == "]" ? 3 : -3);
  else if (key == "o" || (on == $("[data-do=original]") && (key == " " || key == "Enter"))) original(true);
  else if (key == " " && (on == canvas || on == document.body)) spaced = true;
  else if (on == canvas && key in moves) { left += 40 * moves[key][0]; top_ += 40 * moves[key][1]; hold(); }
  else if (key in keys && on != view) deeds[keys[key]]();
  else return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => {
  if (event.key == " ") spaced = false;
  original(false);
});
window.addEventListener("blur", () => { spaced = false; original(false); });
new ResizeObserver(() => { if (stage.clientWidth) resize(); }).observe(element);
window.addEventListener("resize", resize);
setInterval(() => {
  if (view.value != "blink" || !after || held) return;
  blinking = !blinking;
  draw();
}, 700);
watch("value", take);
take();
